/* SPDX-License-Identifier: MIT */
/*
 * One connection between the socket and the broker: the callbacks of libwebsockets on one side,
 * struct link on the other. Runs on the loop's thread alone, except peer_new() and peer_free().
 *
 * What libwebsockets 4.1 demands, each of which breaks something if it is not so:
 *  - Nothing is written to a WebSocket while it holds a remainder (lws_partial_buffered): the
 *    stream would be corrupted.
 *  - A raw connection is written to by ourselves, past the library: while the library held a
 *    remainder of one, it would not read it (and spin, if that were not switched off), and a client
 *    that answers before it reads on would wait for us, as we for it.
 *  - A connection is closed from outside of its callbacks with LWS_TO_KILL_SYNC only, and may be
 *    gone afterwards.
 *  - Closing throws a remainder away: so we wait for it, and for the kernel's, before we let it
 *    close.
 *  - Its timers are not used once a connection speaks MQTT: the one of the TLS handshake must be
 *    cleared.
 */
#include "transport/peer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <sys/ioctl.h>
#include <sys/socket.h>
#include <linux/sockios.h>
#include <unistd.h>

#include <libwebsockets.h>

#include "broker/address.h"
#include "broker/config.h"
#include "broker/conn.h"
#include "broker/list.h"
#include "broker/log.h"
#include "transport/gate.h"
#include "transport/http.h"
#include "transport/listener.h"
#include "transport/server.h"
#include "transport/tls.h"

/* The remainder that a connection can make us keep is at most its room, so it grows only for those
 * who read. */
#define ROOM_FIRST (64u * 1024u)
#define ROOM_LEAST (16u * 1024u)

/* Milliseconds for the rest of the output once the broker has finished with a connection, and for
 * the other side to close after it has got everything. */
#define FLUSH_TIME  5000u
#define LINGER_TIME 1000u

/* A header X-Forwarded-For, at most. */
#define FORWARDED_MAX 1023

/* One WebSocket read; small ones cost more, and the memory is untouched until needed. */
#define WEBSOCKET_CHUNK 65500

static const char raw_protocol[] = "raw connection";

static _Thread_local struct peer *being_adopted;

/* At the end of this turn (or the next, when that has begun) care() looks at it. */
static void wants_care(struct peer *peer)
{
    if (!list_linked(&peer->in_care))
        list_append(&peer->loop->care, &peer->in_care);
}

/* ---- output ---------------------------------------------------------------------------------- */

static void set_reading(struct peer *peer)
{
    bool wanted = peer->shut || !peer->paused;
    if (wanted == peer->reading || !peer->wsi)
        return;
    peer->reading = wanted;
    lws_rx_flow_control(peer->wsi, wanted);
}

static void set_choked(struct peer *peer, bool choked)
{
    peer->choked = choked;
    if (choked && peer->room > ROOM_LEAST)
        peer->room /= 2;
    if (peer->conn)
        conn_choked(peer->conn, choked, loop_now(peer->loop));
}

static void fail(struct peer *peer, const char *why)
{
    peer->failed = true;
    if (!peer->why)
        peer->why = why;
    wants_care(peer);
}

/* How many bytes of a raw connection's output the kernel has taken, or -1. */
static ssize_t write_raw(struct peer *peer, const uint8_t *bytes, size_t len)
{
    if (peer->tls)
        return tls_write(lws_get_ssl(peer->wsi), bytes, len);
    ssize_t sent = send(lws_get_socket_fd(peer->wsi), bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT);
    return sent < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : sent;
}

/* Keeps what the kernel did not take, until on_writeable(). */
static void keep_rest(struct peer *peer, const uint8_t *bytes, size_t len)
{
    peer->rest = malloc(sizeof *peer->rest + len);
    if (!peer->rest) {
        fail(peer, "no memory for the rest of its output");
        return;
    }
    memcpy(peer->rest->bytes, bytes, len);
    peer->rest->len = (uint32_t)len;
    peer->rest->at = 0;
    lws_callback_on_writable(peer->wsi);
    set_choked(peer, true);
}

/* Goes on with what was kept; returns whether all of it has gone. */
static bool write_rest(struct peer *peer)
{
    struct peer_rest *rest = peer->rest;
    if (!rest)
        return true;
    ssize_t sent = write_raw(peer, rest->bytes + rest->at, rest->len - rest->at);
    if (sent < 0) {
        fail(peer, "cannot write");
        return false;
    }
    rest->at += (uint32_t)sent;
    if (rest->at < rest->len) {
        lws_callback_on_writable(peer->wsi);
        if (sent > 0 && peer->conn) /* progress: its time begins again */
            conn_choked(peer->conn, true, loop_now(peer->loop));
        return false;
    }
    free(rest);
    peer->rest = NULL;
    return true;
}

/* Writes what lies behind the headroom of the loop's scratch. */
static void write_scratch(struct peer *peer, size_t len)
{
    uint8_t *bytes = peer->loop->scratch + LWS_PRE;
    if (!peer->websocket) {
        ssize_t sent = write_raw(peer, bytes, len);
        if (sent < 0)
            fail(peer, "cannot write");
        else if ((size_t)sent < len)
            keep_rest(peer, bytes + sent, len - (size_t)sent);
    } else if (lws_write(peer->wsi, bytes, len, LWS_WRITE_BINARY) < 0) {
        fail(peer, "cannot write");
    } else if (lws_partial_buffered(peer->wsi)) {
        set_choked(peer, true);
    }
}

/* Drains and writes once; returns how much. */
static size_t flush_once(struct peer *peer)
{
    if (!peer->conn || !peer->wsi || peer->choked || peer->failed || peer->shut)
        return 0;
    if (peer->websocket && lws_partial_buffered(peer->wsi)) { /* an answer to a ping, say */
        set_choked(peer, true);
        return 0;
    }
    size_t room = peer->room;
    size_t len = conn_drain(peer->conn, peer->loop->scratch + LWS_PRE, room, loop_now(peer->loop));
    if (!len)
        return 0;
    write_scratch(peer, len);
    /* Nearly full: there is more (the broker comes again by itself), and it is being read. */
    if (len > room - room / 8 && !peer->choked && peer->room < LOOP_SCRATCH)
        peer->room *= 2;
    return len;
}

/* ---- the link: called by the broker ---------------------------------------------------------- */

static void link_flush(struct link *link)
{
    flush_once(CONTAINER_OF(link, struct peer, link));
}

static void set_deadline(struct peer *peer, uint64_t time)
{
    peer->deadline = loop_now(peer->loop) + time;
    list_remove(&peer->place_in_life);
    list_append(&peer->loop->closing, &peer->place_in_life);
    loop_watch_closing(peer->loop);
}

static void link_close(struct link *link)
{
    struct peer *peer = CONTAINER_OF(link, struct peer, link);
    if (peer->ending)
        return;
    peer->ending = true;
    set_deadline(peer, FLUSH_TIME);
    wants_care(peer);
}

static void link_pause(struct link *link, bool paused)
{
    struct peer *peer = CONTAINER_OF(link, struct peer, link);
    peer->paused = paused;
    set_reading(peer);
}

/* What it did counts against its address. */
static void blame(struct peer *peer)
{
    struct config *config = peer->gate ? server_config_ref(peer->loop->server) : NULL;
    if (config && gate_fail(&peer->loop->server->gate, peer->gate, config, loop_now(peer->loop)))
        log_emit(LEVEL_WARNING, "The address of the last one is banned for %u seconds.",
                 config->ban_time);
    config_unref(config);
}

static void link_refused(struct link *link)
{
    blame(CONTAINER_OF(link, struct peer, link));
}

static const struct link_ops link_ops = {
    .flush = link_flush,
    .close = link_close,
    .pause = link_pause,
    .refused = link_refused,
};

/* ---- the end --------------------------------------------------------------------------------- */

/* It may be gone afterwards. */
static void destroy(struct peer *peer)
{
    if (!peer->wsi)
        return;
    peer->shut = true;
    /* With a remainder, a WebSocket would wait for it: let that fail. */
    if (peer->websocket)
        shutdown(lws_get_socket_fd(peer->wsi), SHUT_RDWR);
    lws_set_timeout(peer->wsi, PENDING_TIMEOUT_USER_OK, LWS_TO_KILL_SYNC);
}

/* It no longer counts against max_connections, though its descriptor may live on for a moment. */
static void uncount(struct peer *peer)
{
    if (peer->counted)
        atomic_fetch_sub_explicit(&peer->listener->connections, 1, memory_order_relaxed);
    peer->counted = false;
    gate_leave(&peer->loop->server->gate, peer->gate);
    peer->gate = NULL;
}

static void end_conn(struct peer *peer)
{
    struct conn *conn = peer->conn;
    uncount(peer);
    if (!conn)
        return;
    peer->conn = NULL;
    conn_lost(conn, peer->why, loop_now(peer->loop));
    conn_free(conn);
}

/* Whether the kernel still has output that a close with unread input would throw away. */
static bool kernel_has_output(struct peer *peer)
{
    int bytes = 0;
    return ioctl(lws_get_socket_fd(peer->wsi), SIOCOUTQ, &bytes) == 0 && bytes > 0;
}

/* Everything is written: says so to the other side, then waits for it to close, or closes at once
 * if nothing can be lost. It may be gone afterwards. */
static void shut(struct peer *peer)
{
    struct lws *wsi = peer->wsi;
    peer->shut = true;
    end_conn(peer);
    set_deadline(peer, LINGER_TIME);
    if (peer->websocket) {
        enum lws_close_status status = server_is_stopping(peer->loop->server)
                                           ? LWS_CLOSE_STATUS_GOINGAWAY
                                           : LWS_CLOSE_STATUS_NORMAL;
        lws_close_reason(wsi, status, NULL, 0);
        /* With a reason this sends it, and closes when it is answered. */
        lws_set_timeout(wsi, PENDING_TIMEOUT_USER_OK, LWS_TO_KILL_SYNC);
        return;
    }
    if (peer->tls)
        tls_shut(lws_get_ssl(wsi));
    if (!kernel_has_output(peer)) {
        destroy(peer);
        return;
    }
    shutdown(lws_get_socket_fd(wsi), SHUT_WR);
    set_reading(peer);
}

/* Returns whether the broker may have got work. */
static bool care(struct peer *peer)
{
    if (!peer->wsi)
        return false;
    if (peer->failed) {
        destroy(peer);
        return true;
    }
    if (!peer->ending || peer->shut)
        return false;
    size_t len = flush_once(peer);
    if (peer->choked) /* it comes back when it is writeable */
        return false;
    if (len > 0 || peer->failed) {
        wants_care(peer); /* until nothing comes */
        return false;
    }
    shut(peer);
    return true;
}

bool peers_care(struct loop *loop)
{
    if (list_empty(&loop->care))
        return false;
    bool work = false;
    struct list now, *node; /* those that come again are for the next turn */
    list_init(&now);
    list_move(&now, &loop->care);
    while ((node = list_take(&now)))
        work |= care(CONTAINER_OF(node, struct peer, in_care));
    return work || !list_empty(&loop->care);
}

bool peers_expire(struct loop *loop)
{
    uint64_t now = loop_now(loop);
    struct list *next;
    for (struct list *node = loop->closing.next; node != &loop->closing; node = next) {
        next = node->next;
        struct peer *peer = CONTAINER_OF(node, struct peer, place_in_life);
        if (peer->deadline > now)
            continue;
        if (peer->conn)
            peer->why = "did not take the rest of its output in time";
        list_remove(&peer->place_in_life);
        destroy(peer);
    }
    return !list_empty(&loop->closing);
}

/* By what the files of its listener hold now, which may be more than at its handshake. */
static bool is_revoked(const struct peer *peer)
{
    const struct tls_place *now = peer->loop->places[peer->listener->index];
    return peer->place && now && now != peer->place &&
           tls_is_revoked(lws_get_ssl(peer->wsi), now->material);
}

void peers_review(struct loop *loop)
{
    struct list *next;
    for (struct list *node = loop->certified.next; node != &loop->certified; node = next) {
        next = node->next;
        struct peer *peer = CONTAINER_OF(node, struct peer, place_in_life);
        if (peer->conn && peer->wsi && is_revoked(peer))
            conn_close(peer->conn, MQTT_ADMINISTRATIVE_ACTION, "its certificate has been revoked",
                       loop_now(loop));
    }
}

void peers_drop_new(struct loop *loop)
{
    struct list *next;
    for (struct list *node = loop->fresh.next; node != &loop->fresh; node = next) {
        next = node->next;
        struct peer *peer = CONTAINER_OF(node, struct peer, place_in_life);
        if (!peer->shut)
            destroy(peer);
    }
}

/* ---- the beginning --------------------------------------------------------------------------- */

const struct listener_config *peer_listener(const struct peer *peer)
{
    return &peer->config->listeners[peer->listener->index];
}

struct peer *peer_new(int fd, char *address, struct loop *loop, struct listener *listener,
                      struct config *config)
{
    struct peer *peer = calloc(1, sizeof *peer);
    if (!peer) {
        close(fd);
        free(address);
        return NULL;
    }
    peer->link.ops = &link_ops;
    peer->loop = loop;
    peer->listener = listener;
    peer->config = config_ref(config);
    peer->address = address;
    peer->fd = fd;
    peer->reading = true;
    peer->counted = true;
    peer->websocket = peer_listener(peer)->protocol == LISTENER_WEBSOCKETS;
    peer->tls = peer_listener(peer)->certfile != NULL;
    atomic_fetch_add_explicit(&listener->connections, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&loop->peers_count, 1, memory_order_relaxed);
    return peer;
}

void peer_free(struct peer *peer)
{
    struct loop *loop = peer->loop;
    if (!peer->adopted)
        close(peer->fd);
    list_remove(&peer->place_in_life);
    list_remove(&peer->in_care);
    if (peer->place)
        peer->place->peers--;
    uncount(peer);
    config_unref(peer->config);
    free(peer->address);
    free(peer->rest);
    free(peer);
    atomic_fetch_sub_explicit(&loop->peers_count, 1, memory_order_release);
    server_peer_gone(loop->server);
}

void peer_adopt(struct peer *peer)
{
    struct loop *loop = peer->loop;
    struct tls_place *place = peer->tls ? loop->places[peer->listener->index] : NULL;
    struct lws_vhost *vhost = place ? place->vhost : loop->plain_vhost;
    lws_adopt_desc_t adopt = {
        .vh = vhost,
        .type = LWS_ADOPT_SOCKET | (peer->tls ? LWS_ADOPT_ALLOW_SSL : 0) |
                (peer->websocket ? LWS_ADOPT_HTTP : 0),
        .fd = { .sockfd = peer->fd },
        .vh_prot_name = peer->websocket ? NULL : raw_protocol,
        .opaque = peer,
    };
    list_append(&loop->fresh, &peer->place_in_life);
    peer->place = place;
    if (place)
        place->peers++;
    peer->adopted = true; /* and its descriptor is closed by the library also when that fails */
    peer->room = ROOM_FIRST;
    being_adopted = peer;
    struct lws *wsi = lws_adopt_descriptor_vhost_via_info(&adopt);
    being_adopted = NULL;
    if (wsi) {
        peer->wsi = wsi;
        if (peer->tls)
            tls_set_peer(lws_get_ssl(wsi), peer);
    } else if (!peer->bound) {
        peer_free(peer); /* it failed before the library knew us */
    }
}

struct peer *peer_being_adopted(void)
{
    return being_adopted;
}

/* The user name that its certificate proves, if that is what counts here. */
static char *identity_of(const struct peer *peer)
{
    const struct listener_config *listener = peer_listener(peer);
    if (!listener->use_identity_as_username && !listener->use_subject_as_username)
        return NULL;
    return tls_identity(lws_get_ssl(peer->wsi), listener->use_subject_as_username);
}

static void refuse(struct peer *peer, const char *why)
{
    log_emit(LEVEL_NOTICE, "Refused %s: %s; client -, user -", peer->address, why);
    blame(peer);
}

/* From here on it speaks MQTT. Returns false when it may not. */
static bool start(struct peer *peer)
{
    if (is_revoked(peer)) { /* since its handshake */
        refuse(peer, "its certificate has been revoked");
        peer->shut = true;
        return false;
    }
    struct conn_origin origin = {
        .listener = peer_listener(peer),
        .address = span_str(peer->address),
    };
    char *identity = identity_of(peer);
    if (identity)
        origin.identity = span_str(identity);
    list_remove(&peer->place_in_life);
    peer->why = NULL;
    peer->conn = conn_new(peer->loop->worker, &peer->link, &origin, loop_now(peer->loop));
    free(identity);
    if (!peer->conn)
        return false;
    free(peer->address);
    peer->address = NULL;
    if (peer->tls && peer_listener(peer)->require_certificate)
        list_append(&peer->loop->certified, &peer->place_in_life);
    return true;
}

/* ---- callbacks of libwebsockets -------------------------------------------------------------- */

static int on_input(struct peer *peer, const void *bytes, size_t len)
{
    if (peer->ending || peer->failed || peer->shut)
        return 0;
    if (!peer->conn) {
        if (peer->websocket)
            return -1;
        /* The TLS handshake is done; its timer would end the connection. */
        lws_set_timeout(peer->wsi, NO_PENDING_TIMEOUT, 0);
        if (!start(peer))
            return -1;
    }
    conn_feed(peer->conn, span_of(bytes, len), loop_now(peer->loop));
    return 0;
}

static int on_writeable(struct peer *peer)
{
    if (!peer->choked || peer->failed || !write_rest(peer) || lws_partial_buffered(peer->wsi))
        return 0;
    set_choked(peer, false);
    flush_once(peer);
    if (peer->ending)
        wants_care(peer);
    return 0;
}

static int on_message(struct peer *peer, const void *bytes, size_t len)
{
    if (lws_frame_is_binary(peer->wsi)) /* [MQTT5-6.0.0-1] */
        return on_input(peer, bytes, len);
    if (!peer->shut) {
        peer->why = "sent a text frame";
        peer->shut = true;
        end_conn(peer); /* whether or not it answers the close */
        lws_close_reason(peer->wsi, LWS_CLOSE_STATUS_UNACCEPTABLE_OPCODE, NULL, 0);
    }
    return -1;
}

/* What the broker never heard of, but the operator may be looking for. */
static void log_failed_handshake(struct peer *peer)
{
    if (peer->conn || peer->shut || !peer->tls || !peer->address)
        return;
    const char *why = peer->why ? peer->why : "it was closed";
    if (peer->wsi && tls_is_established(lws_get_ssl(peer->wsi)))
        log_emit(LEVEL_NOTICE, "Connection from %s ended after the TLS handshake: %s",
                 peer->address, why);
    else
        log_emit(LEVEL_NOTICE, "TLS handshake with %s failed: %s", peer->address, why);
    blame(peer);
}

static void on_closed(struct peer *peer)
{
    log_failed_handshake(peer);
    peer->shut = true;
    peer->wsi = NULL;
    end_conn(peer);
    list_remove(&peer->in_care);
    list_remove(&peer->place_in_life);
}

/* WSI_DESTROY comes to the first protocol, whatever the connection is bound to. */
static void on_destroyed(struct peer *peer)
{
    if (peer->wsi)
        on_closed(peer);
    peer_free(peer);
}

static int on_event(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                    size_t len)
{
    (void)user;
    struct peer *peer = lws_get_opaque_user_data(wsi);
    if (!peer)
        return 0;
    peer->bound = true;
    switch (reason) {
    case LWS_CALLBACK_RAW_ADOPT: peer->wsi = wsi; return peer->tls || start(peer) ? 0 : -1;
    case LWS_CALLBACK_ESTABLISHED: return start(peer) ? 0 : -1;
    case LWS_CALLBACK_RAW_RX: return on_input(peer, in, len);
    case LWS_CALLBACK_RECEIVE: return on_message(peer, in, len);
    case LWS_CALLBACK_RAW_WRITEABLE:
    case LWS_CALLBACK_SERVER_WRITEABLE: return on_writeable(peer);
    case LWS_CALLBACK_WS_PEER_INITIATED_CLOSE:
        peer->shut = true; /* the library answers; nothing may come after that */
        return 0;
    case LWS_CALLBACK_RAW_CLOSE:
    case LWS_CALLBACK_CLOSED: on_closed(peer); return 0;
    default: return 0;
    }
}

/* Whether the other end of the socket is a proxy whose word is taken. Through a Unix socket comes
 * whoever the file system lets. */
static bool is_trusted_proxy(const struct peer *peer)
{
    const char *port = strrchr(peer->address, ':');
    struct span host = span_of(peer->address, port ? (size_t)(port - peer->address) : 0);
    struct address address;
    if (peer->listener->unix_socket)
        return true;
    if (host.len > 2 && *host.data == '[')
        host = span_of(host.data + 1, host.len - 2);
    return address_parse(host, &address) && networks_have(&peer->config->proxies, &address);
}

/* From now on it is somebody else's connection, whose address counts. False: that one may not come
 * in. */
static bool become(struct peer *peer, const struct address *client)
{
    struct sockaddr_storage storage;
    struct gate *gate = &peer->loop->server->gate;
    struct gate_entry *entry;
    bool say;
    listener_to_sockaddr(client, 0, &storage);
    char *text = listener_peer_address((const struct sockaddr *)&storage);
    if (!text)
        return false;
    free(peer->address);
    peer->address = text;
    gate_leave(gate, peer->gate);
    peer->gate = NULL;
    const char *why = gate_enter(gate, (const struct sockaddr *)&storage, peer->config,
                                 loop_now(peer->loop), &entry, &say);
    if (say)
        log_emit(LEVEL_NOTICE, "Refused %s: %s; client -, user -", text, why);
    peer->gate = entry;
    return !why;
}

static bool take_forwarded(struct peer *peer, struct lws *wsi)
{
    char header[FORWARDED_MAX + 1] = "";
    struct address client;
    if (lws_hdr_total_length(wsi, WSI_TOKEN_X_FORWARDED_FOR) <= 0 || !is_trusted_proxy(peer))
        return true;
    if (lws_hdr_copy(wsi, header, sizeof header, WSI_TOKEN_X_FORWARDED_FOR) < 0) {
        refuse(peer, "its X-Forwarded-For is too long");
        return false;
    }
    return !networks_forwarded(&peer->config->proxies, span_str(header), &client) ||
           become(peer, &client);
}

/* What is refused has been said. */
static bool check_upgrade(struct peer *peer, struct lws *wsi)
{
    bool passed = take_forwarded(peer, wsi);
    const char *why = passed ? http_check_upgrade(wsi, peer_listener(peer)->websockets_origin)
                             : NULL;
    if (why)
        refuse(peer, why);
    peer->shut = !passed || why;
    return !peer->shut;
}

static int on_http_event(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                         size_t len)
{
    if (reason == LWS_CALLBACK_OPENSSL_LOAD_EXTRA_SERVER_VERIFY_CERTS)
        return tls_vhost_setup(user, lws_vhost_user(in));
    struct peer *peer = lws_get_opaque_user_data(wsi);
    if (!peer)
        return 0;
    peer->bound = true;
    switch (reason) {
    case LWS_CALLBACK_WSI_DESTROY: on_destroyed(peer); return 0;
    case LWS_CALLBACK_HTTP: http_refuse_request(wsi); return -1;
    case LWS_CALLBACK_HTTP_CONFIRM_UPGRADE: return check_upgrade(peer, wsi) ? 0 : -1;
    case LWS_CALLBACK_FILTER_PROTOCOL_CONNECTION:
    case LWS_CALLBACK_ESTABLISHED: return -1; /* a WebSocket without sub-protocol */
    case LWS_CALLBACK_CLOSED:
    case LWS_CALLBACK_CLOSED_HTTP: on_closed(peer); return 0;
    default: (void)len; return 0;
    }
}

/* Names with a space cannot be asked for as a sub-protocol. */
static const struct lws_protocols protocols[] = {
    { .name = "http only", .callback = on_http_event },
    { .name = "mqtt",
      .callback = on_event,
      .rx_buffer_size = WEBSOCKET_CHUNK,
      .tx_packet_size = 2 * LOOP_SCRATCH },
    { .name = "mqttv3.1",
      .callback = on_event,
      .rx_buffer_size = WEBSOCKET_CHUNK,
      .tx_packet_size = 2 * LOOP_SCRATCH },
    { .name = raw_protocol, .callback = on_event, .tx_packet_size = 2 * LOOP_SCRATCH },
    { 0 },
};

const struct lws_protocols *peer_protocols(void)
{
    return protocols;
}
