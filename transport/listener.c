/* SPDX-License-Identifier: MIT */
/*
 * Listening sockets: bound once, at the start, before privileges are dropped. No SO_REUSEPORT, so
 * that a second broker is told that the address is in use. Owns the descriptors and a Unix
 * socket's path. Main thread; does not accept (acceptor.c).
 */
#include "transport/listener.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "broker/address.h"
#include "broker/config.h"

static enum err failed(char why[LISTENER_WHY_MAX], const char *name, int error)
{
    const char *hint = "";
    if (error == EADDRINUSE)
        hint = ": another program (another broker?) listens there; stop it, or choose another port";
    else if (error == EACCES)
        hint = ": ports below 1024 need root or the capability CAP_NET_BIND_SERVICE, a Unix socket "
               "needs a "
               "folder where the broker may write";
    else if (error == EADDRNOTAVAIL)
        hint = ": this machine does not have that address";
    snprintf(why, LISTENER_WHY_MAX, "cannot listen on %s: %s%s", name, strerror(error), hint);
    return (enum err) - error;
}

/* ---- TCP ------------------------------------------------------------------------------------- */

/* Returns a descriptor or a negative errno. */
static int open_socket(const struct addrinfo *info)
{
    int fd = socket(info->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    int on = 1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        (info->ai_family == AF_INET6 &&
         setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) != 0) ||
        bind(fd, info->ai_addr, info->ai_addrlen) != 0 || listen(fd, SOMAXCONN) != 0) {
        int error = errno;
        close(fd);
        return -error;
    }
    return fd;
}

/* Without an address, a machine that lacks one of the two IP versions is none to complain about. */
static bool is_missing_family(const struct listener_config *config, int error)
{
    return !config->address && (error == EAFNOSUPPORT || error == EADDRNOTAVAIL);
}

static enum err open_tcp(struct listener *listener, const struct listener_config *config,
                         const char *name, char why[LISTENER_WHY_MAX])
{
    struct addrinfo hints = {
        .ai_family = config->socket_domain == 4   ? AF_INET
                     : config->socket_domain == 6 ? AF_INET6
                                                  : AF_UNSPEC,
        .ai_socktype = SOCK_STREAM,
        .ai_flags = AI_PASSIVE,
    };
    char port[8];
    snprintf(port, sizeof port, "%u", (unsigned)config->port);
    struct addrinfo *all;
    int result = getaddrinfo(config->address, port, &hints, &all);
    if (result == EAI_ADDRFAMILY || result == EAI_FAMILY)
        return failed(why, name, EAFNOSUPPORT);
    if (result) {
        snprintf(why, LISTENER_WHY_MAX, "cannot listen on %s: %s", name,
                 result == EAI_SYSTEM ? strerror(errno) : gai_strerror(result));
        return ERR_INVALID;
    }
    int error = EADDRNOTAVAIL;
    for (struct addrinfo *one = all; one; one = one->ai_next) {
        if (listener->socket_count == LISTENER_SOCKETS_MAX)
            break;
        int fd = open_socket(one);
        if (fd >= 0) {
            listener->sockets[listener->socket_count++] = fd;
        } else if (!is_missing_family(config, -fd)) {
            freeaddrinfo(all);
            return failed(why, name, -fd);
        }
    }
    freeaddrinfo(all);
    return listener->socket_count ? ERR_OK : failed(why, name, error);
}

/* ---- Unix sockets ---------------------------------------------------------------------------- */

/* A socket file that nobody listens on is left over from a crash. Returns 0 or an errno. */
static int remove_stale(const struct sockaddr_un *address)
{
    struct stat status;
    if (lstat(address->sun_path, &status) != 0)
        return errno == ENOENT ? 0 : errno;
    if (!S_ISSOCK(status.st_mode))
        return EEXIST;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return errno;
    bool alive = connect(fd, (const struct sockaddr *)address, sizeof *address) == 0 ||
                 errno == EAGAIN;
    close(fd);
    if (alive)
        return EADDRINUSE;
    return unlink(address->sun_path) == 0 ? 0 : errno;
}

static enum err open_unix(struct listener *listener, const struct listener_config *config,
                          const char *name, char why[LISTENER_WHY_MAX])
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    size_t len = strlen(config->unix_path);
    if (len >= sizeof address.sun_path) {
        snprintf(why, LISTENER_WHY_MAX, "cannot listen on %s: the path is longer than %zu bytes",
                 name, sizeof address.sun_path - 1);
        return ERR_INVALID;
    }
    memcpy(address.sun_path, config->unix_path, len);
    int error = remove_stale(&address);
    if (error)
        return failed(why, name, error);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return failed(why, name, errno);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, SOMAXCONN) != 0) {
        error = errno;
        close(fd);
        return failed(why, name, error);
    }
    listener->sockets[listener->socket_count++] = fd;
    listener->unix_path = strdup(config->unix_path);
    return ERR_OK;
}

/* ---- both ------------------------------------------------------------------------------------ */

enum err listener_open(struct listener *listener, const struct listener_config *config,
                       unsigned index, char why[LISTENER_WHY_MAX])
{
    char name[256];
    listener_name(config, name, sizeof name);
    listener->index = index;
    listener->unix_socket = config->unix_path != NULL;
    enum err err = listener->unix_socket ? open_unix(listener, config, name, why)
                                         : open_tcp(listener, config, name, why);
    if (err)
        listener_close(listener);
    return err;
}

void listener_close(struct listener *listener)
{
    for (size_t i = 0; i < listener->socket_count; i++)
        close(listener->sockets[i]);
    listener->socket_count = 0;
    if (listener->unix_path)
        unlink(listener->unix_path);
    free(listener->unix_path);
    listener->unix_path = NULL;
}

char *listener_peer_address(const struct sockaddr *address)
{
    char host[INET6_ADDRSTRLEN] = "", text[INET6_ADDRSTRLEN + 10];
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const void *)address;
        inet_ntop(AF_INET, &v4->sin_addr, host, sizeof host);
        snprintf(text, sizeof text, "%s:%u", host, (unsigned)ntohs(v4->sin_port));
        return strdup(text);
    }
    if (address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const void *)address;
        inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof host);
        snprintf(text, sizeof text, "[%s]:%u", host, (unsigned)ntohs(v6->sin6_port));
        return strdup(text);
    }
    return strdup("local");
}

void listener_to_sockaddr(const struct address *from, uint16_t port,
                          struct sockaddr_storage *ret_address)
{
    struct in6_addr six;
    *ret_address = (struct sockaddr_storage){ 0 };
    memcpy(&six, from->bytes, sizeof six);
    if (IN6_IS_ADDR_V4MAPPED(&six)) {
        struct sockaddr_in *v4 = (struct sockaddr_in *)ret_address;
        v4->sin_family = AF_INET;
        v4->sin_port = htons(port);
        memcpy(&v4->sin_addr, from->bytes + 12, 4);
    } else {
        struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)ret_address;
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(port);
        v6->sin6_addr = six;
    }
}
