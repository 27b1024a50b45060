/* SPDX-License-Identifier: MIT */
/*
 * Crashes at random moments under random traffic: publishers and subscribers that keep their own
 * state, workers that are turned by chance, a store that finishes and reads by chance; in most,
 * nearly all that waits for a session is only on disk. What was durable at the crash goes into
 * another broker, and everybody comes back. Then: every acknowledged message
 * has arrived, exactly once at QoS 2 and at least once at QoS 1, in the order of its publisher; no
 * will has come more often than its client's connections have ended; a retained message is the last
 * that was acknowledged or a later one; all sessions were there; and at the end nothing is left in
 * the store that nobody waits for.
 *
 * A seed is a history. CRASH_SEEDS=<how many> and CRASH_FIRST=<the first> run others.
 */
#include "tests/broker/support/fault_store.h"
#include "tests/broker/support/model.h"
#include "tests/broker/support/steady.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { CLIENTS = 12, STEPS = 3000, SEEDS = 60, QUIET_ROUNDS = 20000 };
/* Publishers with a session. The other one's connections know nothing of each other: what it sends on
 * one worker may overtake what it has sent on another one. */
enum { LASTING = 1 << 0 | 1 << 1 };
enum who {
    P,
    Q,
    R,
    ALL2,
    ALL1,
    NARROW,
    CLEAN,
    SHARED_A,
    SHARED_B,
    SHARED_C,
    SHARED_CLEAN,
    MOURNER
};

static const char options[] = "listener 1883\nallow_anonymous true\nsys_interval 0\n"
                              "max_queued_messages 0\nbackpressure_timeout 3600\n";

enum disk { MODEL_DISK, FAILING_DISK, REAL_DISK };

struct history {
    struct world world;
    struct fault_store *store;
    struct steady clients[CLIENTS];
    unsigned workers, crashes;
    uint32_t slowness; /* of the store */
    uint32_t slice;    /* messages that it reads at once, 0: all */
    bool fails;        /* it does not always take what it is given */
    unsigned reads;    /* requests of all stores */
    uint64_t random;
};

static uint32_t chance(struct history *history, uint32_t of)
{
    history->random ^= history->random << 13;
    history->random ^= history->random >> 7;
    history->random ^= history->random << 17;
    return (uint32_t)(history->random >> 33) % of;
}

/* ---- what happens ---- */

static void begin(struct history *history, uint64_t now)
{
    world_init_again(&history->world, history->workers, options, &history->store->store, now);
    history->store->broker = history->world.broker;
    history->store->slice = history->slice;
    history->store->reading_holds = history->store->holding;
}

static void crash(struct history *history)
{
    struct fault_store *old = history->store;
    uint64_t now = history->world.now + chance(history, 5000);
    size_t more = old->order_count - old->committed;
    if (more && chance(history, 2)) /* some of it had got there, and nobody knows */
        fault_store_commit(old, old->committed + chance(history, (uint32_t)more + 1));
    history->store = fault_store_crash(old, false);
    for (unsigned i = 0; i < CLIENTS; i++)
        steady_crash(&history->clients[i]);
    steady_reap_all();
    world_done(&history->world);
    history->reads += old->reads;
    fault_store_free(old);
    begin(history, now);
    history->crashes++;
}

/* The store finishes some batches of a worker. */
static void finish_some(struct history *history)
{
    unsigned worker = chance(history, history->workers);
    const struct fault_lane *lane = &history->store->lanes[worker];
    uint64_t waiting = lane->submitted - lane->finished;
    if (!waiting || chance(history, history->slowness))
        return;
    uint64_t position = lane->finished + 1 + chance(history, (uint32_t)waiting);
    if (history->fails && chance(history, 4) == 0 && fault_store_may_fail(history->store, worker))
        fault_store_fail(history->store, worker, position);
    else
        fault_store_complete(history->store, worker, position);
}

/* The store reads for a worker. */
static void read_some(struct history *history)
{
    unsigned worker = chance(history, history->workers);
    if (chance(history, history->slowness) == 0)
        fault_store_read(history->store, worker);
}

static void turn(struct history *history)
{
    (void)world_turn(&history->world, chance(history, history->workers));
    steady_reap();
}

static void pass(struct history *history, uint64_t milliseconds)
{
    struct world *world = &history->world;
    world->now += milliseconds;
    for (unsigned i = 0; i < history->workers; i++)
        worker_tick(broker_worker(world->broker, i), world->now);
}

static void act(struct history *history, struct steady *steady)
{
    uint32_t what = chance(history, 100);
    if (!steady->line) {
        if (what < 40)
            steady_connect(steady, chance(history, history->workers));
    } else if (what < 45) {
        (void)steady_receive(steady);
    } else if (what < 75) {
        (void)steady_answer(steady);
    } else if (what < 96 && !steady->filter) {
        steady_publish(steady, (uint8_t)(1 + chance(history, 2)), chance(history, 8) == 0);
    } else if (what == 96) {
        steady_disconnect(steady);
    } else if (what == 97) {
        steady_lose(steady);
    } else if (what == 98) {
        steady_connect(steady, chance(history, history->workers));
    }
}

static void step(struct history *history)
{
    uint32_t what = chance(history, 1000);
    if (what < 600)
        act(history, &history->clients[chance(history, CLIENTS)]);
    else if (what < 850)
        turn(history);
    else if (what < 960)
        finish_some(history);
    else if (what < 990)
        read_some(history);
    else if (what < 997)
        pass(history, chance(history, 700));
    else
        crash(history);
}

/* Everybody connects, and all is finished. */
static void calm_down(struct history *history)
{
    bool quiet = false;
    fault_store_go_on(history->store);
    for (unsigned round = 0; !quiet; round++) {
        assert_true(round < QUIET_ROUNDS); /* something never comes to its end */
        quiet = true;
        for (unsigned i = 0; i < CLIENTS; i++) {
            struct steady *steady = &history->clients[i];
            if (!steady->line) {
                steady_connect(steady, i % history->workers);
                quiet = false;
            }
            while (steady_receive(steady) || steady_answer(steady))
                quiet = false;
        }
        world_run(&history->world);
        steady_reap();
        for (unsigned i = 0; i < CLIENTS; i++)
            quiet &= steady_quiet(&history->clients[i]);
    }
}

/* ---- what must hold ---- */

static void check_receiver(const struct steady *receiver, const struct steady *publisher)
{
    for (unsigned i = 0; i < publisher->sent_count; i++) {
        const struct steady_message *message = &publisher->sent[i];
        unsigned got = receiver->got[publisher->number][i];
        if (message->retain)
            continue;
        if (message->acked && got == 0)
            fail_msg("%s has not got %s.%u, which was acknowledged", receiver->name,
                     publisher->name, i);
        if (message->qos == 2 && receiver->granted == 2 && got > 1)
            fail_msg("%s has got %s.%u %u times", receiver->name, publisher->name, i, got);
    }
}

static void check_group(const struct history *history, const struct steady *publisher,
                        enum who first, enum who last, bool once)
{
    for (unsigned i = 0; i < publisher->sent_count; i++) {
        unsigned got = 0;
        for (unsigned w = first; w <= last; w++)
            got += history->clients[w].got[publisher->number][i];
        if (publisher->sent[i].retain)
            continue;
        if (publisher->sent[i].acked && got == 0)
            fail_msg("nobody of %s has got %s.%u of QoS %u, which was acknowledged",
                     history->clients[first].filter, publisher->name, i, publisher->sent[i].qos);
        if (once && publisher->sent[i].qos == 2 && got > 1)
            fail_msg("the group has got %s.%u %u times", publisher->name, i, got);
    }
}

static void check_retained(const struct history *history, const struct steady *late,
                           const struct steady *publisher)
{
    int last_acked = -1, kept = late->last_retained[publisher->number];
    for (unsigned i = 0; i < publisher->sent_count; i++)
        if (publisher->sent[i].retain && publisher->sent[i].acked &&
            publisher->sent[i].qos == 1) /* of both kinds the later is not always set later */
            last_acked = (int)i;
    (void)history;
    if (kept < last_acked && (kept < 0 || publisher->sent[kept].qos == 1))
        fail_msg("the retained message of %s is %d, and %d was acknowledged", publisher->name, kept,
                 last_acked);
}

static void check(struct history *history)
{
    struct steady *clients = history->clients;
    struct steady late = { .name = "z", .filter = "r/#", .granted = 1, .clean = true };
    for (enum who p = P; p <= R; p++) {
        check_receiver(&clients[ALL2], &clients[p]);
        check_receiver(&clients[ALL1], &clients[p]);
        check_receiver(&clients[NARROW], &clients[p]);
        check_group(history, &clients[p], SHARED_A, SHARED_B, true);
        check_group(history, &clients[p], SHARED_C, SHARED_CLEAN, false);
    }
    steady_init(&late, &history->world);
    steady_connect(&late, 0);
    for (unsigned i = 0; i < 50; i++) {
        world_run(&history->world);
        while (steady_receive(&late) || steady_answer(&late))
            ;
    }
    for (enum who p = P; p <= R; p++)
        check_retained(history, &late, &clients[p]);
    steady_done(&late);
    if (clients[MOURNER].wills > clients[Q].ends)
        fail_msg("%u wills of %u connections that have ended", clients[MOURNER].wills,
                 clients[Q].ends);
    pass(history, 5000);
    world_run(&history->world);
    if (model_messages(history->store->model) || model_exchanges(history->store->model))
        model_print(history->store->model);
    assert_int_equal(model_messages(history->store->model), 0);
    assert_int_equal(model_exchanges(history->store->model), 0);
    assert_int_equal(model_sessions(history->store->model), 9); /* all but the clean ones */
}

/* What the disk still has for anybody. */
static bool some_session(void *ctx, uint32_t slot, const struct session_record *record)
{
    (void)ctx, (void)slot, (void)record;
    return true;
}

static bool some_group(void *ctx, uint32_t slot, struct span filter)
{
    (void)ctx, (void)slot, (void)filter;
    return true;
}

static bool some_subscription(void *ctx, uint32_t slot, const struct subscription_record *record)
{
    (void)ctx, (void)slot, (void)record;
    return true;
}

static bool no_message(void *ctx, struct loaded_message *loaded,
                       const struct loaded_outbound *outbound, size_t count)
{
    (void)ctx, (void)outbound, (void)count;
    struct span text = message_payload(loaded->body(loaded));
    fail_msg("the disk still has %.*s", (int)text.len, (const char *)text.data);
    return false;
}

static bool no_unrouted(void *ctx, struct message *message, uint32_t slot)
{
    (void)ctx, (void)slot;
    struct span text = message_payload(message);
    fail_msg("the disk still has %.*s, unrouted", (int)text.len, (const char *)text.data);
    return false;
}

static bool no_inbound(void *ctx, uint32_t slot, uint16_t id)
{
    (void)ctx;
    fail_msg("the disk still has the inbound identifier %u of slot %u", id, slot);
    return false;
}

static bool no_outbound(void *ctx, const struct loaded_outbound *outbound)
{
    (void)ctx;
    fail_msg("the disk still has the outbound identifier %u of slot %u in state %u",
             outbound->packet_id, outbound->slot, outbound->state);
    return false;
}

static bool some_retained(void *ctx, struct message *message, uint64_t number, struct span author)
{
    (void)ctx, (void)message, (void)number, (void)author;
    return true;
}

static bool end(void *ctx)
{
    (void)ctx;
    return true;
}

/* It is loaded once more, after the last broker has gone. */
static void check_disk(struct history *history)
{
    static const struct store_loader loader = {
        .group = some_group,
        .session = some_session,
        .subscription = some_subscription,
        .inbound = no_inbound,
        .message = no_message,
        .unrouted = no_unrouted,
        .outbound = no_outbound,
        .retained = some_retained,
        .end = end,
    };
    struct store *store = &history->store->store;
    assert_int_equal(store->ops->load(store, &loader, NULL), 0);
}

/* How often something was read back. */
static unsigned live_through(uint64_t seed, unsigned workers, enum disk disk)
{
    bool on_disk = disk == REAL_DISK;
    static const struct steady who[CLIENTS] = {
        [P] = { .name = "p", .number = 0 },
        [Q] = { .name = "q", .number = 1, .will = true },
        [R] = { .name = "r", .number = 2, .clean = true },
        [ALL2] = { .name = "a", .filter = "t/#", .granted = 2, .ordered = LASTING },
        [ALL1] = { .name = "b", .filter = "t/+", .granted = 1, .ordered = LASTING },
        [NARROW] = { .name = "c", .filter = "t/#", .granted = 2, .ordered = LASTING, .window = 3 },
        [CLEAN] = { .name = "d", .filter = "#", .granted = 2, .clean = true },
        [SHARED_A] = { .name = "e", .filter = "$share/g/t/#", .granted = 2, .window = 4 },
        [SHARED_B] = { .name = "f", .filter = "$share/g/t/#", .granted = 2 },
        [SHARED_C] = { .name = "g", .filter = "$share/h/t/+", .granted = 1, .window = 2 },
        [SHARED_CLEAN] = { .name = "h", .filter = "$share/h/t/+", .granted = 1, .clean = true },
        [MOURNER] = { .name = "i", .filter = "w/#", .granted = 2 },
    };
    struct history *history = calloc(1, sizeof *history);
    assert_non_null(history);
    history->workers = workers;
    history->random = seed * UINT64_C(0x9E3779B97F4A7C15) + 1;
    history->slowness = 1 + 6 * chance(history, 3);
    world_window = (const unsigned[]){ 0, 1, 2, 5 }[chance(history, 4)];
    history->slice = chance(history, 3);
    history->fails = disk == FAILING_DISK;
    history->store = fault_store_new();
    if (on_disk)
        fault_store_use_disk(history->store);
    begin(history, (uint64_t)WORLD_BEGINS * 1000);
    for (unsigned i = 0; i < CLIENTS; i++) {
        history->clients[i] = who[i];
        history->clients[i].refusable = history->fails;
        if (history->fails) /* what was not taken may be sent again behind what was */
            history->clients[i].ordered = 0;
        steady_init(&history->clients[i], &history->world);
    }
    calm_down(history); /* all have subscribed before the first message */
    history->store->holding = history->store->reading_holds = true;
    for (unsigned i = 0; i < STEPS; i++)
        step(history);
    calm_down(history);
    check(history);
    for (unsigned i = 0; i < CLIENTS; i++)
        steady_done(&history->clients[i]);
    steady_reap_all();
    fault_store_go_on(history->store);
    unsigned reads = history->reads + history->store->reads;
    if (on_disk) {
        struct fault_store *old = history->store;
        history->store = fault_store_crash(old, true);
        world_done(&history->world);
        fault_store_free(old);
        check_disk(history);
    } else {
        world_done(&history->world);
    }
    fault_store_free(history->store);
    free(history);
    return reads;
}

static unsigned number_from(const char *name, unsigned otherwise)
{
    const char *text = getenv(name);
    return text ? (unsigned)strtoul(text, NULL, 10) : otherwise;
}

static void run_seeds(unsigned workers, enum disk disk)
{
    unsigned first = number_from("CRASH_FIRST", 1), reads = 0;
    unsigned count = number_from("CRASH_SEEDS", disk == REAL_DISK ? SEEDS / 10 : SEEDS);
    for (unsigned seed = first; seed < first + count; seed++) {
        fprintf(stderr, "seed %u, %u workers\n", seed, workers);
        reads += live_through(seed, workers, disk);
    }
    assert_true(reads > count); /* else nothing of it was tried */
}

static void test_crash_one_worker(void **state)
{
    (void)state;
    run_seeds(1, MODEL_DISK);
}

static void test_crash_three_workers(void **state)
{
    (void)state;
    run_seeds(3, MODEL_DISK);
}

/* What it does not take is refused, or the connection ends; all else but the order holds as before. */
static void test_crash_with_a_failing_disk(void **state)
{
    (void)state;
    run_seeds(1, FAILING_DISK);
    run_seeds(3, FAILING_DISK);
}

static void test_crash_with_a_real_disk(void **state)
{
    (void)state;
    run_seeds(2, REAL_DISK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crash_one_worker),
        cmocka_unit_test(test_crash_three_workers),
        cmocka_unit_test(test_crash_with_a_failing_disk),
        cmocka_unit_test(test_crash_with_a_real_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
