/* SPDX-License-Identifier: MIT */
/*
 * What fuzz_conn.c leaves out: workers that are turned one by one, a store that is late or fails,
 * and crashes, after which another broker begins with what was durable. Any bytes from up to four clients, in any order, with losses, choked sockets and time
 * that passes. Whatever they send, what they get is a stream of packets that
 * a server may send: CONNACK first and once, nothing behind DISCONNECT, none larger than CONNECT
 * allowed. At the end everything is given back (the address sanitizer sees what is not). One thread.
 *
 * Input: one byte of settings, then records. The first byte of a record says who (low two bits) and
 * what (enum action, the bits above); FEED, WAIT and STORE have a second byte, FEED as many more.
 */
#include <stdint.h>
#include <stdlib.h>

#include "broker/broker_state.h"
#include "broker/conn_state.h"
#include "broker/err.h"
#include "tests/broker/support/fault_store.h"
#include "tests/broker/support/packets.h"
#include "tests/broker/support/world.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { CLIENTS = 4, OUT_MAX = 1u << 20, ROOM_MIN = 1024, RECORDS_MAX = 160 };
enum action { FEED, FEED_SLOWLY, LOSE, WAIT, CHOKE, STORE, TURN, RUN };
enum store_bits { CRASH = 4, CRASH_ALL = 8 }; /* of STORE's second byte */
enum settings { TWO_WORKERS = 1, HOLDS = 2, STORES = 4, SMALL_ROOM = 8, SMALL_LIMITS = 16 };

struct client {
    struct link link;
    struct world *world;
    struct conn *conn;
    bool closing, choked;
    struct server_stream stream;
    size_t room;
    size_t len;
    uint8_t *out; /* what is not a whole packet yet */
};

static void look_at(void *ctx, const struct mqtt_frame *frame, struct span body)
{
    struct client *client = ctx;
    packets_check_order(&client->stream, frame, body);
    CHECK((size_t)frame->header_len + frame->body_len <= client->conn->max_packet ||
          frame->type == MQTT_CONNACK);
}

static void flush(struct link *link)
{
    struct client *client = CONTAINER_OF(link, struct client, link);
    size_t len = 1;
    while (client->conn && !client->choked && len > 0) {
        CHECK(client->len + client->room <= OUT_MAX);
        len = conn_drain(client->conn, client->out + client->len, client->room, client->world->now);
        client->len = packets_take(client->out, client->len + len, look_at, client);
    }
}

static void close_link(struct link *link)
{
    CONTAINER_OF(link, struct client, link)->closing = true;
}

static void pause_link(struct link *link, bool paused)
{
    (void)link, (void)paused;
}

static const struct link_ops ops = { .flush = flush, .close = close_link, .pause = pause_link };

static void drop(struct client *client)
{
    conn_free(client->conn);
    client->conn = NULL;
    client->closing = client->choked = false;
    client->stream = (struct server_stream){ 0 };
    client->len = 0;
}

static void drop_closing(struct client *clients)
{
    for (unsigned i = 0; i < CLIENTS; i++) {
        struct client *client = &clients[i];
        if (!client->conn || !client->closing)
            continue;
        flush(&client->link);
        CHECK(client->choked || client->len == 0); /* no half packet is left */
        drop(client);
    }
}

static void feed(struct client *client, unsigned worker, struct span bytes, bool slowly)
{
    struct world *world = client->world;
    if (!client->conn) {
        struct conn_origin origin = { .listener = &world->config->listeners[0],
                                      .address = span_str("fuzz") };
        client->conn = conn_new(broker_worker(world->broker, worker), &client->link, &origin,
                                world->now);
        CHECK(client->conn);
    }
    size_t step = slowly ? 1 : bytes.len;
    for (size_t at = 0; at < bytes.len; at += step)
        conn_feed(client->conn, span_of(bytes.data + at, step), world->now);
}

static void choke(struct client *client)
{
    if (!client->conn)
        return;
    client->choked = !client->choked;
    conn_choked(client->conn, client->choked, client->world->now);
}

/* The next batch of a worker is durable, or has failed. */
static void store(struct fault_store *fault, uint8_t what)
{
    unsigned worker = what & 1;
    if (worker >= broker_worker_count(fault->broker))
        return;
    const struct fault_lane *lane = &fault->lanes[worker];
    uint64_t next = lane->finished + 1 + (what >> 4);
    if (next > lane->submitted)
        return;
    if (what & 2)
        fault_store_fail(fault, worker, next);
    else
        fault_store_complete(fault, worker, next);
}

struct scene {
    struct client clients[CLIENTS];
    struct world world;
    struct fault_store *fault; /* NULL: the memory store */
    uint8_t settings;
};

static void begin(struct scene *scene, uint64_t now)
{
    world_init_again(&scene->world, scene->settings & TWO_WORKERS ? 2 : 1,
                     scene->settings & SMALL_LIMITS
                         ? "listener 1883\nallow_anonymous true\nmax_inflight_messages 2\n"
                           "max_queued_messages 3\nmax_packet_size 200\nmax_topic_alias 2\n"
                           "backpressure_timeout 1\nwrite_timeout 2\ncheck_payload_format true\n"
                         : "listener 1883\nallow_anonymous true\n",
                     scene->fault ? &scene->fault->store : NULL, now);
    if (scene->fault)
        scene->fault->broker = scene->world.broker;
}

static void crash(struct scene *scene, bool all)
{
    struct fault_store *old = scene->fault;
    uint64_t now = scene->world.now;
    scene->fault = fault_store_crash(old, all);
    for (unsigned i = 0; i < CLIENTS; i++)
        drop(&scene->clients[i]);
    world_done(&scene->world);
    fault_store_free(old);
    begin(scene, now);
}

/* One record; returns how many bytes it took, 0 at the end. */
static size_t act(struct scene *scene, struct span in)
{
    struct client *clients = scene->clients;
    struct world *world = &scene->world;
    if (in.len < 2)
        return 0;
    struct client *client = &clients[in.data[0] & 3];
    unsigned workers = broker_worker_count(world->broker);
    uint8_t number = in.data[1];
    switch ((enum action)(in.data[0] >> 2 & 7)) {
    case FEED:
    case FEED_SLOWLY: {
        size_t len = number < in.len - 2 ? number : in.len - 2;
        feed(client, (in.data[0] >> 5) % workers, span_of(in.data + 2, len),
             (in.data[0] >> 2 & 7) == FEED_SLOWLY);
        return 2 + len;
    }
    case LOSE: drop(client); return 1;
    case WAIT: world_pass(world, (uint64_t)number * number * 10); return 2;
    case CHOKE: choke(client); return 1;
    case STORE:
        if (scene->fault && number & CRASH)
            crash(scene, number & CRASH_ALL);
        else if (scene->fault)
            store(scene->fault, number);
        return 2;
    case TURN: (void)world_turn(world, (in.data[0] >> 5) % workers); return 1;
    case RUN: world_run(world); return 1;
    }
    return 1;
}

static void play(struct scene *scene, struct span in)
{
    size_t taken;
    for (unsigned i = 0; i < RECORDS_MAX && (taken = act(scene, in)) > 0; i++) {
        in = span_of(in.data + taken, in.len - taken);
        if (!(scene->settings & HOLDS)) {
            world_run(&scene->world);
            drop_closing(scene->clients);
        }
    }
    world_run(&scene->world);
    drop_closing(scene->clients);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t out[CLIENTS][OUT_MAX];
    struct scene scene = { .fault = NULL };
    if (size == 0)
        return 0;
    scene.settings = data[0];
    if (scene.settings & STORES)
        scene.fault = fault_store_new();
    begin(&scene, (uint64_t)WORLD_BEGINS * 1000);
    for (unsigned i = 0; i < CLIENTS; i++)
        scene.clients[i] = (struct client){ .link.ops = &ops,
                                            .world = &scene.world,
                                            .room = scene.settings & SMALL_ROOM ? ROOM_MIN : 65536,
                                            .out = out[i] };
    play(&scene, span_of(data + 1, size - 1));
    for (unsigned i = 0; i < CLIENTS; i++)
        drop(&scene.clients[i]);
    if (scene.fault)
        fault_store_go_on(scene.fault); /* sessions that have ended go when the store knows it */
    world_done(&scene.world);
    if (scene.fault)
        fault_store_free(scene.fault);
    return 0;
}
