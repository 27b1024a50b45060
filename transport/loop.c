/* SPDX-License-Identifier: MIT */
/*
 * One worker's event loop: libuv, a libwebsockets context without listening sockets on it, and the
 * hooks that make a turn. Owns both, the wake-up descriptor and the scratch buffer. The loop's own
 * thread, except where loop.h says otherwise.
 *
 * libwebsockets' own timers run only after input or output of its own: a timer that one of our
 * hooks sets inside it would not be armed. So it has none but those of handshakes.
 */
#include "transport/loop.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sys/eventfd.h>
#include <unistd.h>

#include <libwebsockets.h>

#include "broker/config.h"
#include "broker/log.h"
#include "broker/worker.h"
#include "transport/certificates.h"
#include "transport/listener.h"
#include "transport/peer.h"
#include "transport/server.h"
#include "transport/tls.h"

/* For the TLS handshake, and for the HTTP headers after that. */
#define HANDSHAKE_TIME 10
/* More than a TLS record, else libwebsockets 4.1 on libuv leaves the rest of one undelivered. */
#define READ_BUFFER       65536u
#define CLOSING_TICK      100
#define HEADER_SIZE_LEAST 1024u

static_assert(READ_BUFFER >= 16384 + LWS_PRE, "a whole TLS record must fit");

/* Pings nobody: MQTT has a keep-alive of its own. */
static const lws_retry_bo_t no_pings;

/* ---- the turn -------------------------------------------------------------------------------- */

static void on_idle(uv_idle_t *idle)
{
    (void)idle; /* it only keeps the loop from sleeping */
}

void loop_stay_awake(struct loop *loop)
{
    uv_idle_start(&loop->idle, on_idle);
}

static void free_place(struct tls_place *place)
{
    if (!place)
        return;
    tls_material_unref(place->material);
    free(place);
}

/* The library lets go of a vhost only behind the callback that tells of its last connection: so not
 * in there, but in the next turn. */
static void sweep_retired(struct loop *loop)
{
    struct list *next;
    for (struct list *node = loop->retired.next; node != &loop->retired; node = next) {
        next = node->next;
        struct tls_place *place = CONTAINER_OF(node, struct tls_place, node);
        if (place->peers > 0)
            continue;
        list_remove(&place->node);
        lws_vhost_destroy(place->vhost);
        free_place(place);
    }
}

static bool finish_turn(struct loop *loop)
{
    if (!list_empty(&loop->retired))
        sweep_retired(loop);
    bool more = worker_finish(loop->worker, loop_now(loop));
    return peers_care(loop) || more;
}

static void on_check(uv_check_t *check)
{
    finish_turn(check->data);
}

static void on_tick(uv_timer_t *timer)
{
    struct loop *loop = timer->data;
    loop->tick_at = UINT64_MAX;
    worker_tick(loop->worker, loop_now(loop));
}

/* A timer that is set too early is left alone: firing once for nothing is cheaper than setting it
 * each turn. */
static void set_tick(struct loop *loop)
{
    uint64_t next = worker_next_tick(loop->worker);
    if (next >= loop->tick_at)
        return;
    uint64_t now = loop_now(loop);
    loop->tick_at = next;
    uv_timer_start(&loop->tick, on_tick, next > now ? next - now : 0, 0);
}

static void on_prepare(uv_prepare_t *prepare)
{
    struct loop *loop = prepare->data;
    if (finish_turn(loop))
        loop_stay_awake(loop);
    else
        uv_idle_stop(&loop->idle);
    set_tick(loop);
}

static void on_closing_tick(uv_timer_t *timer)
{
    struct loop *loop = timer->data;
    if (!peers_expire(loop))
        uv_timer_stop(timer);
}

void loop_watch_closing(struct loop *loop)
{
    if (!uv_is_active((uv_handle_t *)&loop->closing_tick))
        uv_timer_start(&loop->closing_tick, on_closing_tick, CLOSING_TICK, CLOSING_TICK);
}

/* ---- other threads --------------------------------------------------------------------------- */

void loop_wake(void *ctx)
{
    struct loop *loop = ctx;
    if (atomic_exchange(&loop->woken, true))
        return;
    uint64_t one = 1;
    /* It cannot fail: the counter is read before it could be full. */
    (void)!write(loop->wake_fd, &one, sizeof one);
}

void loop_request(struct loop *loop, atomic_bool *flag)
{
    atomic_store(flag, true);
    loop_wake(loop);
}

void loop_post(struct loop *loop, struct peer *peer)
{
    pthread_mutex_lock(&loop->queue_lock);
    list_append(&loop->queue, &peer->place_in_life);
    pthread_mutex_unlock(&loop->queue_lock);
    loop_wake(loop);
}

/* The next peer that was handed over; NULL: none. */
static struct peer *take_queued(struct loop *loop)
{
    pthread_mutex_lock(&loop->queue_lock);
    struct list *node = list_take(&loop->queue);
    pthread_mutex_unlock(&loop->queue_lock);
    return node ? CONTAINER_OF(node, struct peer, place_in_life) : NULL;
}

static enum err make_place(struct loop *loop, const struct listener_config *listener,
                           unsigned index, struct tls_place **ret_place);

static void reload_tls(struct loop *loop)
{
    struct config *config = server_config_ref(loop->server);
    for (unsigned i = 0; i < loop->server->listener_count; i++) {
        struct tls_place *old = loop->places[i];
        if (!old || make_place(loop, &config->listeners[i], i, &loop->places[i]) != ERR_OK)
            continue;
        list_append(&loop->retired, &old->node);
    }
    config_unref(config);
    peers_review(loop);
}

static void on_wake(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    struct loop *loop = poll->data;
    uint64_t count;
    (void)!read(loop->wake_fd, &count, sizeof count);
    /* Before anything is taken: whoever posts after that wakes us up again. */
    atomic_store(&loop->woken, false);
    worker_receive(loop->worker, loop_now(loop));
    struct peer *peer;
    while ((peer = take_queued(loop)))
        peer_adopt(peer);
    atomic_store(&loop->asked, false);
    if (atomic_exchange(&loop->reload_tls, false))
        reload_tls(loop);
    if (atomic_load(&loop->drop_new))
        peers_drop_new(loop);
    if (loop->index == 0)
        server_on_wake(loop->server);
    if (atomic_load(&loop->quit))
        uv_stop(&loop->uv);
}

/* ---- making it ------------------------------------------------------------------------------- */

static struct lws_vhost *make_vhost(struct loop *loop, struct lws_context_creation_info *info,
                                    const char *name)
{
    info->vhost_name = name;
    info->port = CONTEXT_PORT_NO_LISTEN_SERVER;
    info->protocols = peer_protocols();
    info->retry_and_idle_policy = &no_pings;
    info->timeout_secs = HANDSHAKE_TIME;
    return lws_create_vhost(loop->context, info);
}

static enum err make_place(struct loop *loop, const struct listener_config *listener,
                           unsigned index, struct tls_place **ret_place)
{
    struct tls_place *place = calloc(1, sizeof *place);
    if (!place)
        return ERR_NO_MEMORY;
    snprintf(place->name, sizeof place->name, "tls listener %u", index);
    place->material = certificates_ref(&loop->server->certificates, index);
    struct tls_vhost settings = { .listener = listener,
                                  .index = index,
                                  .material = place->material };
    struct lws_context_creation_info info = {
        .options = LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT | LWS_SERVER_OPTION_CREATE_VHOST_SSL_CTX,
        /* Nothing newer than HTTP/1.1, lest a browser takes WebSocket over HTTP/2. */
        .alpn = listener->protocol == LISTENER_WEBSOCKETS ? "http/1.1" : "mqtt",
        .user = &settings,
    };
    place->vhost = make_vhost(loop, &info, place->name);
    if (!place->vhost || !settings.made) {
        if (place->vhost)
            lws_vhost_destroy(place->vhost);
        free_place(place);
        return ERR_IO;
    }
    *ret_place = place;
    return ERR_OK;
}

static enum err make_vhosts(struct loop *loop, const struct config *config)
{
    struct lws_context_creation_info info = { 0 };
    loop->places = calloc(config->listener_count, sizeof *loop->places);
    if (!loop->places)
        return ERR_NO_MEMORY;
    loop->plain_vhost = make_vhost(loop, &info, "plain");
    if (!loop->plain_vhost)
        return ERR_IO;
    for (unsigned i = 0; i < config->listener_count; i++) {
        enum err err = config->listeners[i].certfile
                           ? make_place(loop, &config->listeners[i], i, &loop->places[i])
                           : ERR_OK;
        if (err)
            return err;
    }
    return ERR_OK;
}

static enum err make_context(struct loop *loop, const struct config *config)
{
    void *foreign[] = { &loop->uv };
    struct lws_context_creation_info info = {
        .options = LWS_SERVER_OPTION_EXPLICIT_VHOSTS | LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT |
                   LWS_SERVER_OPTION_LIBUV,
        .foreign_loops = foreign,
        .pt_serv_buf_size = READ_BUFFER,
        .timeout_secs = HANDSHAKE_TIME,
        .retry_and_idle_policy = &no_pings,
        .port = CONTEXT_PORT_NO_LISTEN_SERVER,
    };
    uint32_t headers = config->websockets_headers_size;
    if (headers)
        info.max_http_header_data2 = headers > HEADER_SIZE_LEAST ? headers : HEADER_SIZE_LEAST;
    loop->context = lws_create_context(&info);
    return loop->context ? ERR_OK : ERR_IO;
}

/* Each is closed again by loop_done() once the loop is initialised. */
static enum err make_handles(struct loop *loop)
{
    uv_loop_t *uv = &loop->uv;
    if (uv_check_init(uv, &loop->check) || uv_prepare_init(uv, &loop->prepare) ||
        uv_idle_init(uv, &loop->idle) || uv_timer_init(uv, &loop->tick) ||
        uv_timer_init(uv, &loop->closing_tick) || uv_poll_init(uv, &loop->wake_poll, loop->wake_fd))
        return ERR_IO;
    loop->check.data = loop->prepare.data = loop->idle.data = loop;
    loop->tick.data = loop->closing_tick.data = loop->wake_poll.data = loop;
    return ERR_OK;
}

enum err loop_init(struct loop *loop, struct server *server, unsigned index,
                   const struct config *config)
{
    *loop = (struct loop){ .server = server, .index = index, .wake_fd = -1, .tick_at = UINT64_MAX };
    loop->wall_base = server->wall_base;
    list_init(&loop->fresh);
    list_init(&loop->certified);
    list_init(&loop->queue);
    list_init(&loop->care);
    list_init(&loop->closing);
    list_init(&loop->retired);
    pthread_mutex_init(&loop->queue_lock, NULL);
    if (uv_loop_init(&loop->uv) != 0)
        return ERR_IO;
    loop->initialised = true;
    loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    loop->scratch = malloc(LWS_PRE + LOOP_SCRATCH);
    if (loop->wake_fd < 0 || !loop->scratch)
        return ERR_NO_MEMORY;
    enum err err;
    if ((err = make_handles(loop)) || (err = make_context(loop, config)) ||
        (err = make_vhosts(loop, config)))
        return err;
    /* The library begins its own work (it looks at the certificates' dates) while there is one
     * thread. */
    uv_run(&loop->uv, UV_RUN_NOWAIT);
    return ERR_OK;
}

void loop_attach_worker(struct loop *loop, struct worker *worker)
{
    loop->worker = worker;
    worker_set_wake(worker, loop_wake, loop);
}

void loop_run(struct loop *loop)
{
    uv_check_start(&loop->check, on_check);
    uv_prepare_start(&loop->prepare, on_prepare);
    uv_poll_start(&loop->wake_poll, UV_READABLE, on_wake);
    loop_wake(loop); /* what was posted before there was somebody to wake up */
    uv_run(&loop->uv, UV_RUN_DEFAULT);
}

/* ---- the end --------------------------------------------------------------------------------- */

/* libwebsockets 4.1 frees a context (and unloads its libuv plug-in) while libuv still closes
 * handles that are part of it. So a context is emptied but not freed: the program ends anyway, and
 * here it can still be found. */
static struct lws_context *retired[LOOPS_MAX];

/* Turns of the loop in which libwebsockets closes first its connections' handles, then its own. */
#define CLOSING_TURNS 4

static void close_handle(uv_handle_t *handle, void *ctx)
{
    (void)ctx;
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

void loop_close(struct loop *loop)
{
    struct peer *peer;
    if (!loop->initialised || loop->closed)
        return;
    loop->closed = true;
    while ((peer = take_queued(loop)))
        peer_free(peer);
    uv_check_stop(&loop->check);
    uv_prepare_stop(&loop->prepare);
    if (loop->context)
        lws_context_destroy(loop->context);
    for (int i = 0; i < CLOSING_TURNS; i++)
        uv_run(&loop->uv, UV_RUN_NOWAIT);
    retired[loop->index] = loop->context;
    loop->context = NULL;
    if (loop->worker)
        worker_finish(loop->worker, loop_now(loop));
    uv_walk(&loop->uv, close_handle, NULL);
    uv_run(&loop->uv, UV_RUN_DEFAULT);
}

/* Their vhosts have gone with the context. */
static void free_places(struct loop *loop)
{
    struct list *node;
    while ((node = list_take(&loop->retired)))
        free_place(CONTAINER_OF(node, struct tls_place, node));
    for (size_t i = 0; loop->places && i < loop->server->listener_count; i++)
        free_place(loop->places[i]);
    free(loop->places);
}

void loop_done(struct loop *loop)
{
    loop_close(loop);
    if (loop->initialised)
        uv_loop_close(&loop->uv);
    if (loop->wake_fd >= 0)
        close(loop->wake_fd);
    free(loop->scratch);
    free_places(loop);
    pthread_mutex_destroy(&loop->queue_lock);
}
