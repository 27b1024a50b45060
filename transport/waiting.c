/* SPDX-License-Identifier: MIT */
/*
 * See waiting.h. The bytes are looked at before they are taken (MSG_PEEK), so that what follows the
 * header is still there for whoever reads next; what belongs to it is taken at once, so that half a
 * header does not wake us up for ever.
 */
#include "transport/waiting.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <unistd.h>

#include "broker/config.h"
#include "broker/log.h"
#include "broker/proxy.h"
#include "transport/acceptor.h"
#include "transport/listener.h"
#include "transport/loop.h"
#include "transport/server.h"

enum { WAITING_MAX = 4096, TICK = 250 };

struct waiting {
    struct list node;
    uv_poll_t poll;
    struct waiting_room *room;
    struct listener *listener;
    struct sockaddr_storage proxy;
    int fd; /* -1: given away, or closed */
    uint64_t since;
    size_t len;
    uint8_t bytes[PROXY_HEADER_MAX];
};

static uint64_t now_of(const struct waiting_room *room)
{
    return loop_now(&room->acceptor->server->loops[0]);
}

static const struct config *config_of(const struct waiting_room *room)
{
    return room->acceptor->server->config;
}

static void on_freed(uv_handle_t *handle)
{
    free(handle->data);
}

/* Not waiting any more; its descriptor is the caller's. */
static int leave(struct waiting *waiting)
{
    struct waiting_room *room = waiting->room;
    int fd = waiting->fd;
    waiting->fd = -1;
    list_remove(&waiting->node);
    if (--room->count == 0)
        uv_timer_stop(&room->tick);
    uv_poll_stop(&waiting->poll);
    uv_close((uv_handle_t *)&waiting->poll, on_freed);
    return fd;
}

static void refuse(struct waiting *waiting, const char *why)
{
    char *text = listener_peer_address((const struct sockaddr *)&waiting->proxy);
    log_emit(LEVEL_WARNING, "The proxy %s %s", text ? text : "?", why);
    free(text);
    close(leave(waiting));
}

static void done(struct waiting *waiting, const struct proxy_header *header)
{
    struct acceptor *acceptor = waiting->room->acceptor;
    struct listener *listener = waiting->listener;
    struct sockaddr_storage address = waiting->proxy;
    if (header->known)
        listener_to_sockaddr(&header->from, header->port, &address);
    acceptor_admit(acceptor, listener, leave(waiting), &address, header->known);
}

/* Looks at what has come and takes what belongs to the header. Returns false when the connection
 * does not wait any more. */
static bool read_some(struct waiting *waiting)
{
    const struct config *config = config_of(waiting->room);
    unsigned versions = config->listeners[waiting->listener->index].enable_proxy_protocol;
    struct proxy_header header;
    ssize_t got = recv(waiting->fd, waiting->bytes + waiting->len,
                       sizeof waiting->bytes - waiting->len, MSG_PEEK | MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (got <= 0) {
        close(leave(waiting));
        return false;
    }
    size_t all = waiting->len + (size_t)got;
    enum proxy_status status = proxy_parse(span_of(waiting->bytes, all), versions, &header);
    if (status == PROXY_BAD) {
        refuse(waiting, "did not begin with the header that enable_proxy_protocol asks for.");
        return false;
    }
    size_t taken = (status == PROXY_DONE ? header.len : all) - waiting->len;
    if (recv(waiting->fd, waiting->bytes + waiting->len, taken, MSG_DONTWAIT) != (ssize_t)taken) {
        close(leave(waiting)); /* it was there a moment ago */
        return false;
    }
    waiting->len += taken;
    if (status == PROXY_DONE)
        done(waiting, &header);
    return status == PROXY_MORE;
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct waiting *waiting = poll->data;
    (void)events;
    if (status < 0)
        close(leave(waiting));
    else
        (void)read_some(waiting);
}

static void on_tick(uv_timer_t *timer)
{
    struct waiting_room *room = timer->data;
    uint64_t limit = (uint64_t)config_of(room)->connect_timeout * 1000, now = now_of(room);
    while (!list_empty(&room->waiting)) {
        struct waiting *first = CONTAINER_OF(room->waiting.next, struct waiting, node);
        if (first->since + limit > now)
            return;
        refuse(first, "did not say in time whom it speaks for.");
    }
}

int waiting_room_init(struct waiting_room *room, struct acceptor *acceptor, uv_loop_t *uv)
{
    *room = (struct waiting_room){ .acceptor = acceptor };
    list_init(&room->waiting);
    int error = uv_timer_init(uv, &room->tick);
    room->tick.data = room;
    return error;
}

void waiting_room_enter(struct waiting_room *room, struct listener *listener, int fd,
                        const struct sockaddr_storage *proxy)
{
    struct waiting *waiting = room->count < WAITING_MAX ? calloc(1, sizeof *waiting) : NULL;
    if (!waiting || uv_poll_init(&room->acceptor->server->loops[0].uv, &waiting->poll, fd) != 0) {
        free(waiting);
        close(fd);
        return;
    }
    waiting->poll.data = waiting;
    waiting->room = room;
    waiting->listener = listener;
    waiting->proxy = *proxy;
    waiting->fd = fd;
    waiting->since = now_of(room);
    list_append(&room->waiting, &waiting->node);
    if (room->count++ == 0)
        uv_timer_start(&room->tick, on_tick, TICK, TICK);
    if (uv_poll_start(&waiting->poll, UV_READABLE, on_readable) != 0)
        close(leave(waiting));
}

void waiting_room_close(struct waiting_room *room)
{
    while (!list_empty(&room->waiting))
        close(leave(CONTAINER_OF(room->waiting.next, struct waiting, node)));
    uv_timer_stop(&room->tick);
    uv_close((uv_handle_t *)&room->tick, NULL);
}
