/* SPDX-License-Identifier: MIT */
/*
 * What lies between a client of the load generator and the kernel: nothing, TLS, WebSocket frames,
 * or both. Plain sockets and OpenSSL, no event loop: libwebsockets costs more per message than the
 * broker that is to be measured. The same calls serve a blocking and a non-blocking socket.
 *
 * WebSocket: whoever encodes a packet puts bench_wire_head() before it, one frame a packet, as
 * MQTT clients do. The mask is 0: a frame is then masked already, and the broker unmasks it all
 * the same.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

struct bench_options;
struct ssl_ctx_st;
struct ssl_session_st;
struct ssl_st;

enum { BENCH_WIRE_HEAD = 14 }; /* bytes of the largest frame header */

struct bench_target {
    struct sockaddr_storage address;
    socklen_t address_len;
    int family;
    uint8_t version;
    bool websocket;
    const char *host;
    const char *user, *password; /* NULL: none */
    struct ssl_ctx_st *tls;      /* NULL: not encrypted */
};

struct bench_wire {
    int fd; /* -1: closed */
    struct ssl_st *tls;
    bool blocking;
    bool websocket;
    bool asked, answered; /* the request for WebSocket */
    uint8_t head[BENCH_WIRE_HEAD];
    uint8_t head_len; /* of a frame header of which not all has come */
    bool is_control;  /* the frame under way is a ping or the like */
    bool is_closing;  /* the broker has said farewell: the end of the stream */
    uint64_t left;    /* bytes of the frame's payload that are still to come */
};

enum bench_wire_state { BENCH_WIRE_READY, BENCH_WIRE_READS, BENCH_WIRE_WRITES, BENCH_WIRE_FAILED };

/* Looks the host up, finds the address that answers, prepares TLS. What went wrong is printed. */
bool bench_target_init(struct bench_target *target, const struct bench_options *options);
void bench_target_done(struct bench_target *target);

/* Opens a socket and connects it, or begins to. `session`: of an earlier one to resume, or NULL. */
bool bench_wire_open(struct bench_wire *wire, const struct bench_target *target, bool blocking,
                     struct ssl_session_st *session);
bool bench_wire_go(struct bench_wire *wire); /* non-blocking from here on */
void bench_wire_close(struct bench_wire *wire);

/* TLS and WebSocket handshakes, as far as they go now: what it waits for, or that it is ready. */
enum bench_wire_state bench_wire_shake(struct bench_wire *wire, const struct bench_target *target);

/* Writes the header of a frame around `len` bytes; returns its size, 0 where there are no frames. */
size_t bench_wire_head(bool websocket, uint8_t *out, uint64_t len);

/*
 * As send() and recv(): the bytes sent or read, 0 at the end of the stream, -1 with errno (EAGAIN:
 * not now). What is read is without frames; a read that brought only a part of a frame header is
 * EAGAIN as well.
 */
ssize_t bench_wire_send(struct bench_wire *wire, const uint8_t *data, size_t len);
ssize_t bench_wire_recv(struct bench_wire *wire, uint8_t *buf, size_t room);

/* For resumption: the session as it is now; the caller frees it with bench_session_free(). */
struct ssl_session_st *bench_wire_session(const struct bench_wire *wire);
void bench_session_free(struct ssl_session_st *session);
bool bench_wire_resumed(const struct bench_wire *wire);
