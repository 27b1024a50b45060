/* SPDX-License-Identifier: MIT */
/*
 * Accepts connections. Owns the watchers of the listening sockets (the sockets are the listeners')
 * and the spare descriptor; main thread only.
 *
 * When the process has no descriptor left, the waiting connections would wake us up for ever: the
 * spare one is given up to accept and close them, so that they know, and accepting pauses for a
 * moment.
 */
#include "transport/acceptor.h"

#include <stdlib.h>
#include <string.h>

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "broker/address.h"
#include "broker/broker.h"
#include "broker/config.h"
#include "broker/log.h"
#include "transport/listener.h"
#include "transport/peer.h"
#include "transport/server.h"

#define ACCEPT_BURST  64
#define PAUSE_TIME    100
#define REFILL_TIME   10
#define REFUSED_EVERY 10000
/* Connections that may be at the door when memory is tight: one of them may be a client whose session
 * holds some. */
#define TIGHT_DOOR 64u

static int open_spare(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* ---- whom to take, and where to -------------------------------------------------------------- */

/* The one with the fewest connections; of several, the next in turn. */
static struct loop *least_loaded(struct acceptor *acceptor)
{
    struct server *server = acceptor->server;
    unsigned best = acceptor->next_loop, least = UINT32_MAX;
    for (unsigned i = 0; i < server->loop_count && least > 0; i++) {
        unsigned index = acceptor->next_loop + i;
        if (index >= server->loop_count)
            index -= server->loop_count;
        unsigned count = atomic_load_explicit(&server->loops[index].peers_count,
                                              memory_order_relaxed);
        if (count < least) {
            least = count;
            best = index;
        }
    }
    acceptor->next_loop = best + 1 < server->loop_count ? best + 1 : 0;
    return &server->loops[best];
}

static void say_refused(struct acceptor *acceptor, const struct listener_config *listener,
                        const char *limit)
{
    uint64_t now = loop_now(&acceptor->server->loops[0]);
    acceptor->refused++;
    if (acceptor->refused_said && now - acceptor->refused_said < REFUSED_EVERY)
        return;
    char name[256];
    log_emit(LEVEL_WARNING,
             "Refused %llu new connections since this was last said, one of them on %s: %s",
             (unsigned long long)acceptor->refused, listener_name(listener, name, sizeof name),
             limit);
    acceptor->refused_said = now;
    acceptor->refused = 0;
}

/* By its address: whether it may come in, and then counts. */
static bool pass_gate(struct acceptor *acceptor, const struct sockaddr *address, const char *text,
                      struct gate_entry **ret_entry)
{
    struct server *server = acceptor->server;
    bool say;
    const char *why = gate_enter(&server->gate, address, server->config,
                                 loop_now(&server->loops[0]), ret_entry, &say);
    if (say)
        log_emit(LEVEL_NOTICE, "Refused %s: %s; client -, user -", text, why);
    return !why;
}

static bool crowded(const struct server *server, uint32_t most)
{
    return most && server_connections(server) >= broker_clients(server->broker) + most;
}

static bool has_room(struct acceptor *acceptor, struct listener *listener,
                     const struct listener_config *config)
{
    if (config->max_connections &&
        atomic_load_explicit(&listener->connections, memory_order_relaxed) >=
            config->max_connections) {
        say_refused(acceptor, config, "max_connections is reached");
        return false;
    }
    if (server_connections(acceptor->server) >= acceptor->connections) {
        say_refused(acceptor, config, "the limit of open files (ulimit -n) is nearly reached");
        return false;
    }
    if (broker_memory_level(acceptor->server->broker) >= MEMORY_TIGHT &&
        crowded(acceptor->server, TIGHT_DOOR)) {
        say_refused(acceptor, config, "memory_limit is nearly reached");
        return false;
    }
    if (crowded(acceptor->server, acceptor->server->config->max_unauthenticated)) {
        say_refused(acceptor, config, "max_unauthenticated is reached");
        return false;
    }
    return true;
}

/* Returns whether it came in. */
static bool admit(struct acceptor *acceptor, struct listener *listener, int fd,
                  const struct sockaddr *address, bool guarded)
{
    struct config *config = acceptor->server->config;
    struct gate_entry *gate = NULL;
    char *text = listener_peer_address(address);
    if (!text || (guarded && !pass_gate(acceptor, address, text, &gate))) {
        free(text);
        close(fd);
        return false;
    }
    struct loop *loop = least_loaded(acceptor);
    struct peer *peer = peer_new(fd, text, loop, listener, config);
    if (!peer) {
        gate_leave(&acceptor->server->gate, gate);
        return false;
    }
    peer->gate = gate;
    if (loop->index == 0)
        peer_adopt(peer);
    else
        loop_post(loop, peer);
    return true;
}

void acceptor_admit(struct acceptor *acceptor, struct listener *listener, int fd,
                    const struct sockaddr_storage *address, bool known)
{
    struct config *config = acceptor->server->config;
    if (has_room(acceptor, listener, &config->listeners[listener->index]))
        (void)admit(acceptor, listener, fd, (const struct sockaddr *)address, known);
    else
        close(fd);
}

/* Through a Unix socket comes whoever the file system lets. */
static bool is_trusted_proxy(const struct config *config, const struct sockaddr_storage *address)
{
    struct address from;
    if (address->ss_family == AF_INET)
        from = address_v4((const uint8_t *)&((const struct sockaddr_in *)address)->sin_addr);
    else if (address->ss_family == AF_INET6)
        memcpy(from.bytes, &((const struct sockaddr_in6 *)address)->sin6_addr, sizeof from.bytes);
    else
        return true;
    return networks_have(&config->proxies, &from);
}

/* Returns whether it may speak. */
static bool receive_proxy(struct acceptor *acceptor, struct listener *listener, int fd,
                          const struct sockaddr_storage *address)
{
    if (is_trusted_proxy(acceptor->server->config, address)) {
        waiting_room_enter(&acceptor->waiting, listener, fd, address);
        return true;
    }
    char *text = listener_peer_address((const struct sockaddr *)address);
    log_emit(LEVEL_NOTICE, "Refused %s: it is none of trusted_proxies; client -, user -",
             text ? text : "?");
    free(text);
    close(fd);
    return false;
}

static void take(struct acceptor *acceptor, struct listener *listener, int fd,
                 const struct sockaddr_storage *address)
{
    const struct config *config = acceptor->server->config;
    const struct listener_config *here = &config->listeners[listener->index];
    if (!has_room(acceptor, listener, here)) {
        close(fd);
        return;
    }
    int on = 1;
    if (config->set_tcp_nodelay && !listener->unix_socket)
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (here->enable_proxy_protocol
            ? receive_proxy(acceptor, listener, fd, address)
            : admit(acceptor, listener, fd, (const struct sockaddr *)address, true))
        handshakes_begin(&listener->handshakes); /* who was refused has cost none */
}

/* ---- the handshake budget -------------------------------------------------------------------- */

static const struct listener_config *config_of(const struct acceptor_socket *socket)
{
    return &socket->acceptor->server->config->listeners[socket->listener->index];
}

static bool has_credit(struct acceptor_socket *socket)
{
    const struct listener_config *config = config_of(socket);
    return !config->certfile ||
           handshakes_may_begin(&socket->listener->handshakes, config->handshake_rate,
                                loop_now(&socket->acceptor->server->loops[0]));
}

static void on_readable(uv_poll_t *poll, int status, int events);

static void on_refill(uv_timer_t *timer)
{
    struct acceptor *acceptor = timer->data;
    bool any = false;
    for (size_t i = 0; i < acceptor->socket_count; i++) {
        struct acceptor_socket *socket = &acceptor->sockets[i];
        if (socket->held && acceptor->open && has_credit(socket)) {
            socket->held = false;
            uv_poll_start(&socket->poll, UV_READABLE, on_readable);
        }
        any |= socket->held;
    }
    if (!any)
        uv_timer_stop(timer);
}

static void hold(struct acceptor_socket *socket)
{
    struct acceptor *acceptor = socket->acceptor;
    uint64_t now = loop_now(&acceptor->server->loops[0]);
    char name[256];
    socket->held = true;
    uv_poll_stop(&socket->poll);
    if (!uv_is_active((uv_handle_t *)&acceptor->refill))
        uv_timer_start(&acceptor->refill, on_refill, REFILL_TIME, REFILL_TIME);
    if (acceptor->held_said && now - acceptor->held_said < REFUSED_EVERY)
        return;
    acceptor->held_said = now;
    log_emit(LEVEL_WARNING,
             "New connections on %s wait: there are more than %u TLS handshakes a second "
             "(handshake_rate).",
             listener_name(config_of(socket), name, sizeof name),
             (unsigned)config_of(socket)->handshake_rate);
}

/* ---- no descriptors -------------------------------------------------------------------------- */

static void pause_all(struct acceptor *acceptor)
{
    for (size_t i = 0; i < acceptor->socket_count; i++)
        uv_poll_stop(&acceptor->sockets[i].poll);
}

static void on_resume(uv_timer_t *timer)
{
    struct acceptor *acceptor = timer->data;
    if (!acceptor->open)
        return;
    for (size_t i = 0; i < acceptor->socket_count; i++) {
        if (!acceptor->sockets[i].held)
            uv_poll_start(&acceptor->sockets[i].poll, UV_READABLE, on_readable);
    }
}

static void exhausted(struct acceptor *acceptor, int fd, int error)
{
    if (!acceptor->exhausted)
        log_emit(LEVEL_ERROR,
                 "Cannot accept connections: %s. New ones are closed until others have ended; "
                 "raise the limit "
                 "of open files (ulimit -n), or set max_connections.",
                 strerror(error));
    acceptor->exhausted = true;
    for (int i = 0; i < ACCEPT_BURST && acceptor->spare >= 0; i++) {
        close(acceptor->spare);
        int unlucky = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (unlucky >= 0)
            close(unlucky);
        acceptor->spare = open_spare();
        if (unlucky < 0)
            break;
    }
    pause_all(acceptor);
    uv_timer_start(&acceptor->resume, on_resume, PAUSE_TIME, 0);
}

/* ---- accepting ------------------------------------------------------------------------------- */

/* Returns whether to go on. */
static bool accept_one(struct acceptor_socket *socket)
{
    struct acceptor *acceptor = socket->acceptor;
    struct sockaddr_storage address = { 0 };
    socklen_t len = sizeof address;
    int fd = accept4(socket->fd, (struct sockaddr *)&address, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
        if (acceptor->exhausted)
            log_emit(LEVEL_NOTICE, "Accepting connections again.");
        acceptor->exhausted = false;
        if (acceptor->spare < 0)
            acceptor->spare = open_spare();
        take(acceptor, socket->listener, fd, &address);
        return acceptor->open;
    }
    switch (errno) {
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM: exhausted(acceptor, socket->fd, errno); return false;
    case EAGAIN: return false;
    default: return true; /* that one has gone again, or its network has */
    }
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    struct acceptor_socket *socket = poll->data;
    for (int i = 0; i < ACCEPT_BURST; i++) {
        bool may = has_credit(socket);
        if (!may && i == 0) /* somebody is there, else this would not be called */
            hold(socket);
        if (!may || !accept_one(socket))
            return;
    }
}

enum err acceptor_open(struct acceptor *acceptor, struct server *server, uint64_t connections)
{
    uv_loop_t *uv = &server->loops[0].uv;
    size_t count = 1; /* never an empty allocation */
    for (size_t i = 0; i < server->listener_count; i++)
        count += server->listeners[i].socket_count;
    *acceptor = (struct acceptor){ .server = server, .connections = connections, .open = true };
    acceptor->spare = open_spare();
    acceptor->sockets = calloc(count, sizeof *acceptor->sockets);
    if (!acceptor->sockets || uv_timer_init(uv, &acceptor->resume) != 0 ||
        uv_timer_init(uv, &acceptor->refill) != 0)
        return ERR_NO_MEMORY;
    acceptor->resume.data = acceptor->refill.data = acceptor;
    if (waiting_room_init(&acceptor->waiting, acceptor, uv) != 0)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < server->listener_count; i++) {
        struct listener *listener = &server->listeners[i];
        for (size_t j = 0; j < listener->socket_count; j++) {
            struct acceptor_socket *socket = &acceptor->sockets[acceptor->socket_count];
            *socket = (struct acceptor_socket){ .acceptor = acceptor,
                                                .listener = listener,
                                                .fd = listener->sockets[j] };
            if (uv_poll_init(uv, &socket->poll, socket->fd) != 0)
                return ERR_IO;
            socket->poll.data = socket;
            acceptor->socket_count++;
            if (uv_poll_start(&socket->poll, UV_READABLE, on_readable) != 0)
                return ERR_IO;
        }
    }
    return ERR_OK;
}

void acceptor_close(struct acceptor *acceptor)
{
    if (!acceptor->open)
        return;
    acceptor->open = false;
    for (size_t i = 0; i < acceptor->socket_count; i++)
        uv_close((uv_handle_t *)&acceptor->sockets[i].poll, NULL);
    waiting_room_close(&acceptor->waiting);
    uv_timer_stop(&acceptor->resume);
    uv_close((uv_handle_t *)&acceptor->resume, NULL);
    uv_timer_stop(&acceptor->refill);
    uv_close((uv_handle_t *)&acceptor->refill, NULL);
    for (size_t i = 0; i < acceptor->server->listener_count; i++)
        listener_close(&acceptor->server->listeners[i]);
}

void acceptor_done(struct acceptor *acceptor)
{
    if (acceptor->spare > 0)
        close(acceptor->spare);
    free(acceptor->sockets);
    *acceptor = (struct acceptor){ .spare = -1 };
}
