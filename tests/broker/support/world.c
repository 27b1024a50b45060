/* SPDX-License-Identifier: MIT */
/* See world.h. */
#include "tests/broker/support/world.h"

#include "broker/auth/acl.h"
#include "broker/auth/acl_file.h"
#include "broker/config.h"
#include "broker/log.h"
#include "broker/problems.h"
#include "broker/restore.h"
#include "mqtt/encode.h"
#include "tests/broker/support/packets.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

enum { CHUNK = 4096, ROUNDS_MAX = 100000 };

unsigned world_window;

static uint64_t chance; /* begins anew with each world */

static void no_chance(void *bytes, size_t len)
{
    uint8_t *out = bytes;
    for (size_t i = 0; i < len; i++) {
        chance ^= chance << 13;
        chance ^= chance >> 7;
        chance ^= chance << 17;
        out[i] = (uint8_t)chance;
    }
}

static const struct world *latest; /* whose clock it is */

static uint64_t wall_clock(void)
{
    return latest->now + latest->wall_ahead;
}

static void wake(void *ctx)
{
    atomic_store((atomic_bool *)ctx, true);
}

void world_init(struct world *world, unsigned workers, const char *options)
{
    world_init_with(world, workers, options, NULL);
}

static void start(struct world *world, unsigned workers, struct store *store, uint64_t now)
{
    world->now = now;
    latest = world;
    chance = 88172645463325252u;
    world->broker = broker_new(world->config, workers,
                               &(struct broker_env){ .random = no_chance,
                                                     .now = world->now,
                                                     .version = "test",
                                                     .wall_clock = wall_clock,
                                                     .store = store,
                                                     .window = world_window });
    world->woken = calloc(workers, sizeof *world->woken);
    assert_non_null(world->woken);
    for (unsigned i = 0; i < workers; i++)
        worker_set_wake(broker_worker(world->broker, i), wake, &world->woken[i]);
    assert_int_equal(broker_restore(world->broker), 0);
}

static struct config *make_config(const char *options, const char *rules)
{
    struct problems problems = { 0 };
    const char *text = options ? options : "";
    struct config *config = config_parse(text, strlen(text), "test", &problems);
    struct acl *acl = rules ? acl_file_parse(rules, strlen(rules), "rules", &problems) : NULL;
    assert_non_null(config);
    assert_int_equal(problems.errors, 0);
    for (size_t i = 0; i < config->listener_count; i++)
        config->listeners[i].acl = acl_ref(acl);
    acl_unref(acl);
    problems_done(&problems);
    return config;
}

void world_init_with(struct world *world, unsigned workers, const char *options,
                     struct store *store)
{
    world_init_again(world, workers, options, store, (uint64_t)WORLD_BEGINS * 1000);
}

void world_init_again(struct world *world, unsigned workers, const char *options,
                      struct store *store, uint64_t now)
{
    world->config = make_config(options, NULL);
    start(world, workers, store, now);
}

void world_init_guarded(struct world *world, unsigned workers, const char *options,
                        const char *rules)
{
    world->options = options;
    world->config = make_config(options, rules);
    start(world, workers, NULL, (uint64_t)WORLD_BEGINS * 1000);
}

void world_reload_rules(struct world *world, const char *rules)
{
    struct config *config = make_config(world->options, rules);
    broker_reload(world->broker, config);
    config_unref(config);
    if (!world->threaded)
        world_run(world);
}

void world_done(struct world *world)
{
    world_run(world);
    broker_free(world->broker);
    config_unref(world->config);
    free(world->woken);
}

bool world_turn(struct world *world, unsigned index)
{
    struct worker *worker = broker_worker(world->broker, index);
    if (atomic_exchange(&world->woken[index], false))
        worker_receive(worker, world->now);
    return worker_finish(worker, world->now);
}

void world_run(struct world *world)
{
    bool busy = true;
    for (unsigned round = 0; busy; round++) {
        assert_true(round < ROUNDS_MAX); /* a livelock otherwise */
        busy = false;
        for (unsigned i = 0; i < broker_worker_count(world->broker); i++)
            busy |= world_turn(world, i);
        for (unsigned i = 0; i < broker_worker_count(world->broker); i++)
            busy |= atomic_load(&world->woken[i]);
    }
}

void world_pass(struct world *world, uint64_t milliseconds)
{
    world->now += milliseconds;
    for (unsigned i = 0; i < broker_worker_count(world->broker); i++)
        worker_tick(broker_worker(world->broker, i), world->now);
    world_run(world);
}

/* ---- the link ---- */

static void keep_publish(struct peer *peer, const struct mqtt_frame *frame, struct span body)
{
    struct received received = { .order = atomic_fetch_add(&peer->world->received, 1),
                                 .qos = frame->flags >> 1 & 3,
                                 .dup = frame->flags & 8,
                                 .retain = frame->flags & 1 };
    size_t topic_len = (size_t)body.data[0] << 8 | body.data[1], at = 2 + topic_len;
    if (received.qos) {
        received.id = (uint16_t)(body.data[at] << 8 | body.data[at + 1]);
        at += 2;
    }
    size_t props_len = body.data[at++]; /* tests keep them below 128 bytes */
    if (props_len >= 2 && body.data[at] == MQTT_PROP_SUBSCRIPTION_ID)
        received.sub_id = body.data[at + 1];
    at += props_len;
    assert_true(body.data[at - props_len - 1] < 128 && topic_len < sizeof received.topic);
    memcpy(received.topic, body.data + 2, topic_len);
    assert_true(body.len - at < sizeof received.payload);
    memcpy(received.payload, body.data + at, body.len - at);
    if (peer->count == peer->publish_room) {
        peer->publish_room = peer->publish_room ? peer->publish_room * 2 : 16;
        peer->publishes = realloc(peer->publishes, peer->publish_room * sizeof received);
        assert_non_null(peer->publishes);
    }
    peer->publishes[peer->count++] = received;
}

static void keep(void *ctx, const struct mqtt_frame *frame, struct span body)
{
    struct peer *peer = ctx;
    peer->packets[frame->type]++;
    if (frame->type == MQTT_PUBLISH)
        keep_publish(peer, frame, body);
    else if (frame->type == MQTT_CONNACK)
        peer->session_present = body.data[0], peer->last[MQTT_CONNACK] = body.data[1];
    else if (frame->type == MQTT_DISCONNECT)
        peer->last[MQTT_DISCONNECT] = body.len ? body.data[0] : 0;
    else if (frame->type == MQTT_SUBACK || frame->type == MQTT_UNSUBACK)
        peer->last[frame->type] = body.data[body.len - 1];
    else
        peer->last[frame->type] = body.len > 2 ? body.data[2] : 0;
}

static void link_flush(struct link *link)
{
    struct peer *peer = CONTAINER_OF(link, struct peer, link);
    size_t got = 1;
    while (got && peer->conn && !peer->stalled) {
        if (peer->room - peer->len < CHUNK) {
            peer->room = peer->room * 2 + CHUNK;
            peer->bytes = realloc(peer->bytes, peer->room);
            assert_non_null(peer->bytes);
        }
        got = conn_drain(peer->conn, peer->bytes + peer->len, CHUNK, peer->world->now);
        peer->len += got;
    }
    peer->len = packets_take(peer->bytes, peer->len, keep, peer);
}

static void link_close(struct link *link)
{
    CONTAINER_OF(link, struct peer, link)->closing = true;
}

static void link_pause(struct link *link, bool paused)
{
    (void)link, (void)paused;
}

static const struct link_ops link_ops = { .flush = link_flush,
                                          .close = link_close,
                                          .pause = link_pause };

static void run(struct peer *peer)
{
    if (!peer->world->threaded)
        world_run(peer->world);
}

static void gone(struct peer *peer)
{
    conn_free(peer->conn);
    peer->conn = NULL;
    peer->closing = false;
    run(peer);
}

/* ---- what a peer does ---- */

void peer_feed(struct peer *peer, struct span bytes)
{
    conn_feed(peer->conn, bytes, peer->world->now);
}

static void send_packet(struct peer *peer, uint8_t first, struct span variable, struct span props,
                        struct span payload)
{
    uint8_t out[512];
    size_t len = mqtt_encode_packet(out, sizeof out, first, MQTT_V5, variable, props, payload);
    assert_true(len <= sizeof out);
    peer_feed(peer, span_of(out, len));
}

void peer_begin(struct peer *peer, struct world *world, unsigned worker)
{
    peer->world = world;
    peer->link.ops = &link_ops;
    peer->len = 0;
    peer->conn = conn_new(broker_worker(world->broker, worker % broker_worker_count(world->broker)),
                          &peer->link,
                          &(struct conn_origin){ .listener = &world->config->listeners[0],
                                                 .address = span_str("test") },
                          world->now);
    assert_non_null(peer->conn);
}

void peer_connect(struct peer *peer, struct world *world, const char *client_id,
                  const struct connect_options *options)
{
    uint8_t props[16], variable[] = { 0, 4, 'M', 'Q', 'T', 'T', 5, options->resume ? 0 : 2, 0, 0 },
                       payload[128];
    struct mqtt_writer p = { .out = props, .room = sizeof props },
                       c = { .out = payload, .room = sizeof payload };
    peer_begin(peer, world, options->worker);
    if (options->expiry)
        mqtt_put_number_property(&p, MQTT_PROP_SESSION_EXPIRY, options->expiry);
    if (options->receive_maximum)
        mqtt_put_number_property(&p, MQTT_PROP_RECEIVE_MAXIMUM, options->receive_maximum);
    mqtt_put_string(&c, span_str(client_id));
    if (options->will) {
        variable[7] |= 4;
        mqtt_put_u8(&c, 0);
        mqtt_put_string(&c, span_str(options->will));
        mqtt_put_string(&c, span_str("will"));
    }
    if (options->user) {
        variable[7] |= 0x80;
        mqtt_put_string(&c, span_str(options->user));
    }
    send_packet(peer, MQTT_CONNECT << 4, span_of(variable, sizeof variable), span_of(props, p.len),
                span_of(payload, c.len));
    run(peer);
    assert_true(world->threaded || peer->last[MQTT_CONNACK] == options->reason);
}

void peer_subscribe(struct peer *peer, const char *filter, uint8_t options, uint32_t sub_id)
{
    uint8_t props[8], payload[256];
    struct mqtt_writer p = { .out = props, .room = sizeof props },
                       c = { .out = payload, .room = sizeof payload };
    unsigned before = peer->packets[MQTT_SUBACK];
    if (sub_id)
        mqtt_put_number_property(&p, MQTT_PROP_SUBSCRIPTION_ID, sub_id);
    mqtt_put_string(&c, span_str(filter));
    mqtt_put_u8(&c, options);
    send_packet(peer, MQTT_SUBSCRIBE << 4 | 2, span_of("\0\1", 2), span_of(props, p.len),
                span_of(payload, c.len));
    run(peer);
    assert_true(peer->world->threaded || peer->packets[MQTT_SUBACK] == before + 1);
}

void peer_unsubscribe(struct peer *peer, const char *filter)
{
    uint8_t payload[256];
    struct mqtt_writer c = { .out = payload, .room = sizeof payload };
    unsigned before = peer->packets[MQTT_UNSUBACK];
    mqtt_put_string(&c, span_str(filter));
    send_packet(peer, MQTT_UNSUBSCRIBE << 4 | 2, span_of("\0\1", 2), (struct span){ 0 },
                span_of(payload, c.len));
    run(peer);
    assert_true(peer->world->threaded || peer->packets[MQTT_UNSUBACK] == before + 1);
}

void peer_publish(struct peer *peer, const char *topic, const char *payload, uint8_t qos,
                  bool retain)
{
    uint8_t variable[128];
    struct mqtt_writer v = { .out = variable, .room = sizeof variable };
    mqtt_put_string(&v, span_str(topic));
    if (qos)
        mqtt_put_u16(&v, 1);
    send_packet(peer, (uint8_t)(MQTT_PUBLISH << 4 | qos << 1 | retain), span_of(variable, v.len),
                (struct span){ 0 }, span_str(payload));
    run(peer);
    if (qos == 2)
        peer_ack(peer, MQTT_PUBREL, 1, MQTT_SUCCESS);
}

void peer_ack(struct peer *peer, enum mqtt_type type, uint16_t id, enum mqtt_reason reason)
{
    uint8_t out[8];
    peer_feed(peer, span_of(out, mqtt_encode_ack(out, type, MQTT_V5, id, reason)));
    run(peer);
}

void peer_disconnect(struct peer *peer)
{
    peer_feed(peer, span_of("\xe0\0", 2));
    run(peer);
    gone(peer);
}

void peer_lose(struct peer *peer)
{
    conn_lost(peer->conn, "lost by the test", peer->world->now);
    gone(peer);
}

void peer_done(struct peer *peer)
{
    if (peer->conn)
        peer_lose(peer);
    free(peer->bytes);
    free(peer->publishes);
    *peer = (struct peer){ 0 };
}

const struct received *peer_next(struct peer *peer)
{
    return peer->taken < peer->count ? &peer->publishes[peer->taken++] : NULL;
}

size_t peer_unseen(const struct peer *peer)
{
    return peer->count - peer->taken;
}
