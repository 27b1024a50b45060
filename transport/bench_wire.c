/* SPDX-License-Identifier: MIT */
/*
 * TLS and WebSocket for the load generator. Owns a client's descriptor and its TLS state. A
 * WebSocket client of the least kind: it asks, sends masked binary frames, and takes the frame
 * headers out of what it reads; it answers no ping. One thread; never waits on a non-blocking
 * socket.
 */
#include "transport/bench_wire.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/time.h>
#include <unistd.h>

#include "transport/bench.h"

enum { SETUP_PATIENCE = 20, ANSWER_MAX = 2048, READ_AHEAD = 65536 };

static bool trouble(const char *what, const char *why)
{
    fprintf(stderr, "noctule bench: %s: %s\n", what, why);
    return false;
}

static const char *tls_reason(void)
{
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());
    ERR_clear_error();
    return reason ? reason : "connection closed";
}

/* ---- the target -------------------------------------------------------------------------- */

static bool tls_prepare(struct bench_target *target, const struct bench_options *options)
{
    target->tls = SSL_CTX_new(TLS_client_method());
    if (!target->tls)
        return trouble("TLS", tls_reason());
    /* What is measured is the broker: its certificate is believed unless a CA is given. */
    SSL_CTX_set_mode(target->tls, SSL_MODE_ENABLE_PARTIAL_WRITE |
                                      SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                      SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_read_ahead(target->tls, 1);
    SSL_CTX_set_default_read_buffer_len(target->tls, READ_AHEAD);
    SSL_CTX_set_session_cache_mode(target->tls, SSL_SESS_CACHE_OFF);
    if (!options->cafile)
        return true;
    SSL_CTX_set_verify(target->tls, SSL_VERIFY_PEER, NULL);
    return SSL_CTX_load_verify_locations(target->tls, options->cafile, NULL) == 1 ||
           trouble(options->cafile, tls_reason());
}

/* localhost may be ::1 and 127.0.0.1, and a broker may listen on one of them alone. */
static bool find_address(struct bench_target *target, const struct addrinfo *found)
{
    int status = -1, why = 0;

    for (const struct addrinfo *each = found; each && status; each = each->ai_next) {
        memcpy(&target->address, each->ai_addr, each->ai_addrlen);
        target->address_len = each->ai_addrlen;
        target->family = each->ai_family;
        int fd = socket(each->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        status = fd < 0 ? -1 : connect(fd, each->ai_addr, each->ai_addrlen);
        why = errno;
        if (fd >= 0)
            close(fd);
    }
    return status == 0 || trouble("no connection to the broker", strerror(why));
}

bool bench_target_init(struct bench_target *target, const struct bench_options *options)
{
    const struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
    struct addrinfo *found = NULL;
    char service[16];

    *target = (struct bench_target){ .version = (uint8_t)options->version,
                                     .websocket = options->websocket,
                                     .host = options->host,
                                     .user = options->user,
                                     .password = options->password };
    snprintf(service, sizeof service, "%u", (unsigned)options->port);
    int status = getaddrinfo(options->host, service, &hints, &found);
    if (status)
        return trouble(options->host, gai_strerror(status));
    bool well = find_address(target, found);
    freeaddrinfo(found);
    return well && (!options->tls || tls_prepare(target, options));
}

void bench_target_done(struct bench_target *target)
{
    SSL_CTX_free(target->tls);
    target->tls = NULL;
}

/* ---- opening ----------------------------------------------------------------------------- */

static bool tls_begin(struct bench_wire *wire, const struct bench_target *target,
                      SSL_SESSION *session)
{
    wire->tls = SSL_new(target->tls);
    if (!wire->tls || SSL_set_fd(wire->tls, wire->fd) != 1 ||
        SSL_set_tlsext_host_name(wire->tls, target->host) != 1 ||
        (session && SSL_set_session(wire->tls, session) != 1))
        return trouble("TLS", tls_reason());
    SSL_set_connect_state(wire->tls);
    return true;
}

bool bench_wire_open(struct bench_wire *wire, const struct bench_target *target, bool blocking,
                     SSL_SESSION *session)
{
    const struct timeval patience = { .tv_sec = SETUP_PATIENCE };
    const int yes = 1;

    *wire = (struct bench_wire){ .websocket = target->websocket, .blocking = blocking };
    wire->fd = socket(target->family, SOCK_STREAM | SOCK_CLOEXEC | (blocking ? 0 : SOCK_NONBLOCK),
                      0);
    if (wire->fd < 0)
        return trouble("socket", strerror(errno));
    setsockopt(wire->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    if (blocking)
        setsockopt(wire->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (connect(wire->fd, (const struct sockaddr *)&target->address, target->address_len) &&
        errno != EINPROGRESS)
        return trouble("connect", strerror(errno));
    return !target->tls || tls_begin(wire, target, session);
}

bool bench_wire_go(struct bench_wire *wire)
{
    int flags = fcntl(wire->fd, F_GETFL);

    wire->blocking = false;
    return (flags >= 0 && fcntl(wire->fd, F_SETFL, flags | O_NONBLOCK) == 0) ||
           trouble("fcntl", strerror(errno));
}

void bench_wire_close(struct bench_wire *wire)
{
    if (wire->tls) /* without a farewell its session could not be resumed */
        SSL_set_shutdown(wire->tls, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(wire->tls);
    wire->tls = NULL;
    if (wire->fd >= 0)
        close(wire->fd);
    wire->fd = -1;
}

/* ---- bytes, encrypted or not ------------------------------------------------------------- */

/* Puts what SSL_read() and the like returned as read() would have: -1 and EAGAIN for "not now". */
static ssize_t tls_result(const struct bench_wire *wire, int done, enum bench_wire_state *ret_wait)
{
    int why = SSL_get_error(wire->tls, done);

    *ret_wait = why == SSL_ERROR_WANT_WRITE ? BENCH_WIRE_WRITES : BENCH_WIRE_READS;
    if (done > 0)
        return done;
    if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE) {
        errno = EAGAIN;
        return -1;
    }
    /* Brokers close without a close_notify: an end like any other here. */
    bool ended = why == SSL_ERROR_ZERO_RETURN || why == SSL_ERROR_SYSCALL ||
                 ERR_GET_REASON(ERR_peek_last_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING;
    ERR_clear_error();
    errno = EPROTO;
    return ended ? 0 : -1;
}

static ssize_t raw_send(struct bench_wire *wire, const uint8_t *data, size_t len)
{
    enum bench_wire_state wait;
    ssize_t sent = 0, sum = 0;

    if (!wire->tls)
        return send(wire->fd, data, len, MSG_NOSIGNAL);
    do { /* a record at a time */
        sent = tls_result(wire, SSL_write(wire->tls, data + sum, (int)(len - (size_t)sum)), &wait);
        sum += sent > 0 ? sent : 0;
    } while (sent > 0 && (size_t)sum < len);
    return sum ? sum : sent;
}

static ssize_t raw_recv(struct bench_wire *wire, uint8_t *buf, size_t room)
{
    enum bench_wire_state wait;
    ssize_t got = 0, sum = 0;

    if (!wire->tls)
        return recv(wire->fd, buf, room, 0);
    do { /* all that is there: bytes left inside OpenSSL do not wake an epoll */
        got = tls_result(wire, SSL_read(wire->tls, buf + sum, (int)(room - (size_t)sum)), &wait);
        sum += got > 0 ? got : 0;
    } while (got > 0 && !wire->blocking && (size_t)sum < room && SSL_has_pending(wire->tls));
    return sum ? sum : got;
}

/* ---- WebSocket --------------------------------------------------------------------------- */

size_t bench_wire_head(bool websocket, uint8_t *out, uint64_t len)
{
    size_t bytes = len < 126 ? 0 : len < 65536 ? 2 : 8; /* of the length, behind its first */

    if (!websocket)
        return 0;
    out[0] = 0x82; /* the last fragment, binary */
    out[1] = (uint8_t)(0x80 | (bytes == 0 ? len : bytes == 2 ? 126 : 127));
    for (size_t i = 0; i < bytes; i++)
        out[2 + i] = (uint8_t)(len >> (8 * (bytes - 1 - i)));
    memset(out + 2 + bytes, 0, 4);
    return 2 + bytes + 4;
}

static bool ws_ask(struct bench_wire *wire, const struct bench_target *target)
{
    char request[512];
    int len = snprintf(request, sizeof request,
                       "GET /mqtt HTTP/1.1\r\nHost: %.200s\r\nUpgrade: websocket\r\n"
                       "Connection: Upgrade\r\nSec-WebSocket-Key: bm9jdHVsZS1iZW5jaC1rZQ==\r\n"
                       "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n",
                       target->host);

    wire->asked = true;
    return raw_send(wire, (const uint8_t *)request, (size_t)len) == len;
}

/* Nothing follows the answer: a broker says nothing before CONNECT. So it ends where a read does. */
static enum bench_wire_state ws_answer(struct bench_wire *wire)
{
    static const char yes[] = "HTTP/1.1 101", end[] = "\r\n\r\n";
    char answer[ANSWER_MAX];
    ssize_t got = raw_recv(wire, (uint8_t *)answer, sizeof answer);

    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return BENCH_WIRE_READS;
    if (got < 4 || (!wire->answered && (got < 12 || memcmp(answer, yes, 12) != 0)))
        return BENCH_WIRE_FAILED;
    wire->answered = true;
    return memcmp(answer + got - 4, end, 4) == 0 ? BENCH_WIRE_READY : BENCH_WIRE_READS;
}

enum bench_wire_state bench_wire_shake(struct bench_wire *wire, const struct bench_target *target)
{
    enum bench_wire_state wait;

    if (wire->tls && !SSL_is_init_finished(wire->tls)) {
        ssize_t done = tls_result(wire, SSL_do_handshake(wire->tls), &wait);
        if (done <= 0)
            return done < 0 && errno == EAGAIN ? wait : BENCH_WIRE_FAILED;
    }
    if (!wire->websocket)
        return BENCH_WIRE_READY;
    if (!wire->asked)
        return ws_ask(wire, target) ? BENCH_WIRE_READS : BENCH_WIRE_FAILED;
    return ws_answer(wire);
}

/* How many bytes the header has, as far as it is known from its first two. */
static size_t head_size(const uint8_t *head)
{
    unsigned len = head[1] & 0x7F;
    return 2u + (len == 126 ? 2 : len == 127 ? 8 : 0) + (head[1] & 0x80 ? 4 : 0);
}

static void head_done(struct bench_wire *wire)
{
    unsigned len = wire->head[1] & 0x7F;
    size_t bytes = len == 126 ? 2 : len == 127 ? 8 : 0;

    wire->left = bytes ? 0 : len;
    for (size_t i = 0; i < bytes; i++)
        wire->left = wire->left << 8 | wire->head[2 + i];
    wire->is_control = wire->head[0] & 8;
    wire->is_closing |= (wire->head[0] & 0x0F) == 8;
    wire->head_len = 0;
}

/* Takes headers and control frames out of the bytes; returns how many are left. */
static size_t ws_unframe(struct bench_wire *wire, uint8_t *buf, size_t len)
{
    size_t from = 0, to = 0;

    while (from < len) {
        if (wire->left) {
            size_t part = len - from < wire->left ? len - from : (size_t)wire->left;
            if (!wire->is_control) {
                memmove(buf + to, buf + from, part);
                to += part;
            }
            from += part;
            wire->left -= part;
            continue;
        }
        wire->head[wire->head_len++] = buf[from++];
        if (wire->head_len >= 2 && wire->head_len == head_size(wire->head))
            head_done(wire);
    }
    return to;
}

/* ---- for the clients --------------------------------------------------------------------- */

ssize_t bench_wire_send(struct bench_wire *wire, const uint8_t *data, size_t len)
{
    return raw_send(wire, data, len);
}

ssize_t bench_wire_recv(struct bench_wire *wire, uint8_t *buf, size_t room)
{
    for (;;) {
        ssize_t got = raw_recv(wire, buf, room);
        if (got <= 0 || !wire->websocket)
            return got;
        size_t left = ws_unframe(wire, buf, (size_t)got);
        if (left || wire->is_closing)
            return (ssize_t)left;
    }
}

SSL_SESSION *bench_wire_session(const struct bench_wire *wire)
{
    return wire->tls ? SSL_get1_session(wire->tls) : NULL;
}

void bench_session_free(SSL_SESSION *session)
{
    SSL_SESSION_free(session);
}

bool bench_wire_resumed(const struct bench_wire *wire)
{
    return wire->tls && SSL_session_reused(wire->tls);
}
