/* SPDX-License-Identifier: MIT */
/*
 * Workers turned in random orders, each from a seed that is printed when it fails: takeovers while
 * messages flow in both directions, and ends of sessions while messages are on their way. One
 * thread, so that every order can be had again; the same under real threads is the end-to-end
 * tests' part.
 */
#include "broker/conn_state.h"
#include "tests/broker/support/chance.h"
#include "tests/broker/support/fault_store.h"
#include "tests/broker/support/world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { WORKERS = 3, SEEDS = 60, ACTIONS = 300 };

#define OPTIONS "listener 1883\nallow_anonymous true\nsys_interval 0\n"

static struct chance chance;

static unsigned pick(unsigned choices)
{
    return chance_pick(&chance, choices);
}

static void begin(struct world *world, unsigned seed, struct fault_store *store)
{
    chance = chance_of(seed);
    world_init_with(world, WORKERS, OPTIONS, store ? &store->store : NULL);
    if (store)
        store->broker = world->broker;
}

/* Peers whose connection the broker has finished with are closed, as the transport does after a
 * turn. */
static void close_asked(struct peer *peers, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (peers[i].conn && peers[i].closing)
            peer_lose(&peers[i]);
}

/* ---- takeovers while messages flow ---- */

enum { PUBLISHERS = WORKERS, CONNECTIONS = 6, NUMBERS = 1024 };

/* What the client s does towards the broker at QoS 2: one message at a time, on its newest
 * connection, and again with DUP on the next. */
enum sending { IDLE, AWAITS_PUBREC, AWAITS_PUBCOMP };

struct flow {
    struct world world;
    struct fault_store *store; /* NULL: the memory store */
    struct peer publishers[PUBLISHERS], observer, s[CONNECTIONS];
    unsigned published[PUBLISHERS];         /* to s */
    unsigned first[PUBLISHERS];             /* s has had the first of these, in order */
    bool taken[PUBLISHERS][NUMBERS];        /* the broker knows that s has it */
    unsigned last[CONNECTIONS][PUBLISHERS]; /* number + 1 of the newest on a connection */
    size_t acked[CONNECTIONS];              /* of peer->publishes */
    int newest;                             /* connection of s, -1 none */
    enum sending sending;
    bool said; /* on this connection */
    unsigned sent, answers[2];
};

static void publish(struct flow *flow, unsigned from)
{
    char payload[16];
    if (flow->published[from] == NUMBERS)
        return;
    snprintf(payload, sizeof payload, "%u %u", from, flow->published[from]++);
    peer_publish(&flow->publishers[from], "t", payload, 1, false);
}

static int free_place(const struct flow *flow)
{
    for (int i = 0; i < CONNECTIONS; i++)
        if (!flow->s[i].conn)
            return i;
    return -1;
}

static void connect_s(struct flow *flow)
{
    int place = free_place(flow);
    if (place < 0)
        return;
    struct peer *peer = &flow->s[place];
    peer_done(peer);
    peer_connect(
        peer, &flow->world, "s",
        &(struct connect_options){ .worker = pick(WORKERS), .resume = true, .expiry = 3600 });
    memset(flow->last[place], 0, sizeof flow->last[place]);
    flow->acked[place] = 0;
    flow->newest = place;
    flow->said = false;
}

static void lose_s(struct flow *flow)
{
    struct peer *peer = &flow->s[pick(CONNECTIONS)];
    if (peer->conn)
        peer_lose(peer);
}

/* Looks at the next PUBLISH that a connection of s has received. */
static void receive(struct flow *flow, unsigned place)
{
    const struct received *received = peer_next(&flow->s[place]);
    unsigned from, number;
    assert_int_equal(sscanf(received->payload, "%u %u", &from, &number), 2);
    assert_true(from < PUBLISHERS && number < flow->published[from]);
    assert_true(number + 1 > flow->last[place][from]); /* in order on each connection */
    flow->last[place][from] = number + 1;
    if (received->dup)
        assert_true(number < flow->first[from] && !flow->taken[from][number]);
    else /* the next one: none is left out, none comes twice */
        assert_int_equal(number, flow->first[from]++);
}

static void acknowledge(struct flow *flow, unsigned place)
{
    struct peer *peer = &flow->s[place];
    if (!peer->conn || flow->acked[place] == peer->taken)
        return;
    const struct received *received = &peer->publishes[flow->acked[place]++];
    unsigned from, number;
    assert_int_equal(sscanf(received->payload, "%u %u", &from, &number), 2);
    if (peer->conn->session) /* else it is not read any more */
        flow->taken[from][number] = true;
    peer_ack(peer, MQTT_PUBACK, received->id, MQTT_SUCCESS);
}

static void send_qos2(struct flow *flow, struct peer *peer, bool again)
{
    uint8_t packet[] = { 0x34, 10, 0, 1, 'o', 0, 9, 0, '0', '0', '0', '0' };
    char number[8];
    snprintf(number, sizeof number, "%04u", flow->sent);
    memcpy(packet + 8, number, 4);
    packet[0] |= again ? 8 : 0;
    peer_feed(peer, span_of(packet, sizeof packet));
}

/* The next step of the QoS 2 message of s, if its newest connection lets it. */
static void go_on_sending(struct flow *flow)
{
    struct peer *peer = flow->newest < 0 ? NULL : &flow->s[flow->newest];
    if (!peer || !peer->conn || peer->closing || !peer->packets[MQTT_CONNACK])
        return;
    bool again = !flow->said;
    if (again) { /* a new connection: what was on its way is sent again */
        flow->answers[0] = peer->packets[MQTT_PUBREC];
        flow->answers[1] = peer->packets[MQTT_PUBCOMP];
        flow->said = true;
        if (flow->sending == AWAITS_PUBREC)
            send_qos2(flow, peer, true);
        else if (flow->sending == AWAITS_PUBCOMP)
            peer_ack(peer, MQTT_PUBREL, 9, MQTT_SUCCESS);
    } else if (flow->sending == AWAITS_PUBREC && peer->packets[MQTT_PUBREC] > flow->answers[0]) {
        flow->sending = AWAITS_PUBCOMP;
        peer_ack(peer, MQTT_PUBREL, 9, MQTT_SUCCESS);
    } else if (flow->sending == AWAITS_PUBCOMP && peer->packets[MQTT_PUBCOMP] > flow->answers[1]) {
        flow->sending = IDLE;
        flow->sent++;
    }
    if (flow->sending == IDLE) {
        flow->answers[0] = peer->packets[MQTT_PUBREC];
        flow->answers[1] = peer->packets[MQTT_PUBCOMP];
        flow->sending = AWAITS_PUBREC;
        send_qos2(flow, peer, false);
    }
}

/* All connections of s, in the order in which the broker has written to them. */
static void receive_all(struct flow *flow)
{
    for (;;) {
        const struct received *first = NULL;
        unsigned place = 0;
        for (unsigned i = 0; i < CONNECTIONS; i++) {
            const struct peer *peer = &flow->s[i];
            const struct received *next = &peer->publishes[peer->taken];
            if (peer->taken < peer->count && (!first || next->order < first->order)) {
                first = next;
                place = i;
            }
        }
        if (!first)
            return;
        receive(flow, place);
    }
}

/* Some of what a worker has given to the store is durable. */
static void complete(struct flow *flow, unsigned worker)
{
    const struct fault_lane *lane = &flow->store->lanes[worker];
    unsigned waiting = (unsigned)(lane->submitted - lane->finished);
    if (waiting)
        fault_store_complete(flow->store, worker, lane->finished + 1 + pick(waiting));
}

static void act(struct flow *flow)
{
    if (flow->store && pick(6) == 0)
        complete(flow, pick(WORKERS));
    switch (pick(9)) {
    case 0: publish(flow, pick(PUBLISHERS)); break;
    case 1: acknowledge(flow, pick(CONNECTIONS)); break;
    case 2:
        if (pick(3) == 0)
            connect_s(flow);
        break;
    case 3:
        if (pick(8) == 0)
            lose_s(flow);
        break;
    case 4: go_on_sending(flow); break;
    default: (void)world_turn(&flow->world, pick(WORKERS));
    }
    receive_all(flow);
    close_asked(flow->s, CONNECTIONS);
}

/* A last connection gets what is left, and finishes what s had begun. */
static void come_to_rest(struct flow *flow)
{
    if (flow->store)
        fault_store_go_on(flow->store);
    for (unsigned round = 0; round < 4; round++) {
        world_run(&flow->world);
        receive_all(flow);
        close_asked(flow->s, CONNECTIONS);
    }
    while (free_place(flow) < 0)
        lose_s(flow);
    connect_s(flow);
    unsigned goal = flow->sent + 2;
    for (unsigned round = 0; round < 10000 && flow->sent < goal; round++) {
        world_run(&flow->world);
        close_asked(flow->s, CONNECTIONS);
        receive_all(flow);
        acknowledge(flow, (unsigned)flow->newest);
        go_on_sending(flow);
    }
    assert_int_equal(flow->sent, goal);
    world_run(&flow->world);
    receive_all(flow);
}

static void check_observer(const struct flow *flow)
{
    size_t wanted = flow->sent + (flow->sending != IDLE);
    assert_int_equal(flow->observer.count, wanted);
    for (size_t i = 0; i < wanted; i++)
        assert_int_equal(strtoul(flow->observer.publishes[i].payload, NULL, 10), i);
}

static void flow_done(struct flow *flow)
{
    flow->world.threaded = false;
    for (unsigned i = 0; i < CONNECTIONS; i++)
        peer_done(&flow->s[i]);
    for (unsigned i = 0; i < PUBLISHERS; i++)
        peer_done(&flow->publishers[i]);
    peer_done(&flow->observer);
    world_done(&flow->world);
    if (flow->store)
        fault_store_free(flow->store);
    free(flow);
}

static void flow_with(unsigned seed, struct fault_store *store)
{
    static const char *const names[PUBLISHERS] = { "p0", "p1", "p2" };
    struct flow *flow = calloc(1, sizeof *flow);
    assert_non_null(flow);
    flow->store = store;
    if (store)
        store->holding = false; /* until everybody has come */
    begin(&flow->world, seed, store);
    for (unsigned i = 0; i < PUBLISHERS; i++)
        peer_connect(&flow->publishers[i], &flow->world, names[i],
                     &(struct connect_options){ .worker = i });
    peer_connect(&flow->observer, &flow->world, "o",
                 &(struct connect_options){ .worker = pick(WORKERS) });
    peer_subscribe(&flow->observer, "o", 2, 0);
    connect_s(flow);
    peer_subscribe(&flow->s[0], "t", 1, 0);
    flow->world.threaded = true; /* from now on only act() turns workers */
    if (store)
        store->holding = true;
    for (unsigned i = 0; i < ACTIONS; i++)
        act(flow);
    come_to_rest(flow);
    for (unsigned i = 0; i < PUBLISHERS; i++)
        assert_int_equal(flow->first[i], flow->published[i]);
    check_observer(flow);
    flow_done(flow);
}

static void test_takeover_in_any_order_loses_and_doubles_nothing(void **state)
{ /* [MQTT5-3.1.4-3] [MQTT5-4.4.0-1] [MQTT5-4.6.0-6] [MQTT5-4.3.3-10] */
    (void)state;
    for (unsigned seed = 0; seed < SEEDS; seed++) {
        print_message("seed %u\r", seed);
        flow_with(seed, NULL);
    }
}

static void test_takeover_in_any_order_with_a_late_store_loses_and_doubles_nothing(void **state)
{ /* [MQTT5-3.1.4-3] [MQTT5-4.4.0-1] [MQTT5-4.6.0-6] [MQTT5-4.3.3-10] */
    (void)state;
    for (unsigned seed = 0; seed < SEEDS; seed++) {
        print_message("seed %u\r", seed);
        flow_with(seed, fault_store_new());
    }
}

/* ---- ends of sessions while messages are on their way ---- */

enum { GUESTS = 8, NAMES = 4 };

static void check_in(struct world *world, struct peer *guest)
{
    static const char *const names[NAMES] = { "a", "b", "c", "d" };
    if (guest->conn)
        return;
    peer_done(guest);
    peer_connect(guest, world, names[pick(NAMES)],
                 &(struct connect_options){ .worker = pick(WORKERS),
                                            .resume = pick(2) == 0,
                                            .expiry = pick(3) == 0 ? 5 : 0 });
}

static void guest_acts(struct peer *guest)
{
    static const char *const filters[] = { "t", "#", "+/u", "$share/g/t", "$share/h/#" };
    static const char *const topics[] = { "t", "t/u" };
    if (!guest->conn || guest->closing)
        return;
    switch (pick(5)) {
    case 0: peer_subscribe(guest, filters[pick(5)], (uint8_t)pick(3), 0); break;
    case 1: peer_unsubscribe(guest, filters[pick(5)]); break;
    case 2:
    case 3: peer_publish(guest, topics[pick(2)], "x", (uint8_t)pick(3), pick(4) == 0); break;
    default:
        if (guest->taken < guest->count) {
            const struct received *received = peer_next(guest);
            if (received->qos)
                peer_ack(guest, received->qos == 1 ? MQTT_PUBACK : MQTT_PUBREC, received->id,
                         MQTT_SUCCESS);
        }
    }
}

static void tick(struct world *world, uint64_t milliseconds)
{
    world->now += milliseconds;
    for (unsigned i = 0; i < WORKERS; i++)
        worker_tick(broker_worker(world->broker, i), world->now);
}

static void visit(struct world *world, struct peer *guests)
{
    struct peer *guest = &guests[pick(GUESTS)];
    switch (pick(10)) {
    case 0: check_in(world, guest); break;
    case 1:
        if (guest->conn && pick(3) == 0)
            peer_lose(guest);
        break;
    case 2:
        if (guest->conn && pick(3) == 0)
            peer_feed(guest, span_of("\xe0\0", 2));
        break;
    case 3:
        if (pick(10) == 0)
            tick(world, 2000);
        break;
    case 4:
    case 5:
    case 6: guest_acts(guest); break;
    default: (void)world_turn(world, pick(WORKERS));
    }
    close_asked(guests, GUESTS);
}

static uint64_t sum(const struct world *world, size_t offset)
{
    uint64_t total = 0;
    for (unsigned i = 0; i < WORKERS; i++)
        total += atomic_load(
            (_Atomic uint64_t *)((char *)&world->broker->workers[i]->stats + offset));
    return total;
}

static void end_with(unsigned seed)
{
    struct world world = { 0 };
    struct peer guests[GUESTS] = { 0 };
    begin(&world, seed, NULL);
    world.threaded = true;
    for (unsigned i = 0; i < 2 * ACTIONS; i++)
        visit(&world, guests);
    for (unsigned i = 0; i < GUESTS; i++)
        peer_done(&guests[i]);
    world.threaded = false;
    world_run(&world);
    world_pass(&world, 10000);
    assert_int_equal(session_table_count(world.broker->table), 0);
    assert_int_equal(tree_entry_count(world.broker->tree), 0);
    assert_int_equal(sum(&world, offsetof(struct stats, sessions)), 0);
    assert_int_equal(sum(&world, offsetof(struct stats, subscriptions)), 0);
    assert_int_equal(sum(&world, offsetof(struct stats, shared_subscriptions)), 0);
    assert_int_equal(sum(&world, offsetof(struct stats, clients_connected)), 0);
    world_done(&world);
}

static void test_session_end_in_any_order_leaves_nothing_behind(void **state)
{ /* what is still on its way to a session that has ended finds it, or nobody: the address
   * sanitizer watches. [MQTT5-4.1.0-2] [MQTT5-3.1.2-23] */
    (void)state;
    for (unsigned seed = 0; seed < SEEDS; seed++) {
        print_message("seed %u\r", seed);
        end_with(seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_takeover_in_any_order_loses_and_doubles_nothing),
        cmocka_unit_test(test_takeover_in_any_order_with_a_late_store_loses_and_doubles_nothing),
        cmocka_unit_test(test_session_end_in_any_order_leaves_nothing_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
