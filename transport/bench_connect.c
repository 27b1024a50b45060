/* SPDX-License-Identifier: MIT */
/*
 * The scenarios without messages: connections that come and go as fast as they can, and
 * connections that stay and do nothing. Coming and going is a small state machine a slot:
 *
 *   connect() ─ handshakes, if any ─ CONNECT ─ readable: CONNACK → DISCONNECT ─ end of stream: again
 *
 * The broker closes first, so that its work of closing is in the account.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sys/epoll.h>
#include <unistd.h>

#include "transport/bench_meter.h"
#include "transport/bench_run.h"

enum { EVENTS = 256, WAIT = 100, REFUSALS_MAX = 1000 };
static const uint64_t PATIENCE = 5000000000;

enum visit_state { VISIT_SHAKING, VISIT_WAITING, VISIT_LEAVING };

struct visit {
    struct bench_wire wire;
    struct ssl_session_st *session; /* to be resumed by the next one */
    enum visit_state state;
    uint32_t watched; /* events */
    uint32_t number;  /* of its client id */
    uint64_t began;
    const char *refusal; /* of the broker; NULL: it did not say */
};

struct visits {
    const struct bench_options *options;
    struct bench_result *result;
    struct bench_target target;
    struct visit *slots;
    int epoll;
    uint32_t begun, open;
    bool said; /* why one was refused */
    uint64_t deadline, moved_at;
};

static bool may_begin(const struct visits *visits, uint64_t now)
{
    if (visits->result->refused >= REFUSALS_MAX)
        return false;
    return visits->deadline ? now < visits->deadline : visits->begun < visits->options->messages;
}

static void begin(struct visits *visits, struct visit *visit, uint64_t now)
{
    struct epoll_event event = { .events = EPOLLOUT, .data.ptr = visit };

    visit->state = VISIT_SHAKING;
    visit->refusal = NULL;
    visit->began = now;
    visit->number = visits->begun++;
    visit->watched = EPOLLOUT;
    bool well = bench_wire_open(&visit->wire, &visits->target, false, visit->session);
    visits->result->refused += !well;
    if (visit->wire.fd < 0)
        return;
    visits->open++; /* what failed is ended by the event that follows */
    epoll_ctl(visits->epoll, EPOLL_CTL_ADD, visit->wire.fd, &event);
}

/* Of many that are refused, the first one says why. */
static void say(struct visits *visits, const struct visit *visit)
{
    static const char *const when[] = { [VISIT_SHAKING] = "before it could say CONNECT",
                                        [VISIT_WAITING] = "without a CONNACK that it can enter",
                                        [VISIT_LEAVING] = "not at the end of its DISCONNECT" };
    if (!visits->said)
        fprintf(stderr, "noctule bench: a connection ended %s%s%s\n", when[visit->state],
                visit->refusal ? ": " : "", visit->refusal ? visit->refusal : "");
    visits->said = true;
}

static void end(struct visits *visits, struct visit *visit, bool well)
{
    if (!well)
        say(visits, visit);
    bench_wire_close(&visit->wire);
    visits->open--;
    visits->result->done += well;
    visits->result->refused += !well;
}

static void watch(const struct visits *visits, struct visit *visit, uint32_t events)
{
    struct epoll_event event = { .events = events, .data.ptr = visit };

    if (visit->watched != events)
        epoll_ctl(visits->epoll, EPOLL_CTL_MOD, visit->wire.fd, &event);
    visit->watched = events;
}

/* Until all handshakes are through, and then CONNECT. */
static bool step_shaking(const struct visits *visits, struct visit *visit)
{
    uint8_t buf[BENCH_CONNECT];
    enum bench_wire_state state = bench_wire_shake(&visit->wire, &visits->target);

    if (state == BENCH_WIRE_FAILED)
        return false;
    watch(visits, visit, state == BENCH_WIRE_WRITES ? EPOLLOUT : EPOLLIN);
    if (state != BENCH_WIRE_READY)
        return true;
    size_t len = bench_encode_connect(buf, &visits->target, visit->number, BENCH_CLEAN);
    visit->state = VISIT_WAITING;
    return bench_wire_send(&visit->wire, buf, len) == (ssize_t)len;
}

/* A CONNACK in one piece: the first bytes that this connection carries. */
static bool on_connack(const struct visits *visits, struct visit *visit, const uint8_t *packet,
                       ssize_t len)
{
    const uint8_t disconnect[] = { MQTT_DISCONNECT << 4, 0 };
    uint8_t buf[sizeof disconnect + BENCH_WIRE_HEAD];

    if (len < 4 || packet[0] != MQTT_CONNACK << 4)
        return false;
    if (packet[3] != 0) {
        visit->refusal = bench_refusal(visits->target.version, packet[3]);
        return false;
    }
    bench_histogram_add(&visits->result->latency, bench_now() - visit->began);
    if (visits->options->resume) {
        visits->result->resumed += bench_wire_resumed(&visit->wire);
        bench_session_free(visit->session);
        visit->session = bench_wire_session(&visit->wire);
    }
    visit->state = VISIT_LEAVING;
    size_t size = bench_frame(visits->target.websocket, buf, disconnect, sizeof disconnect);
    return bench_wire_send(&visit->wire, buf, size) == (ssize_t)size;
}

/* False when the visit is over. */
static bool step(const struct visits *visits, struct visit *visit, bool *ret_well)
{
    uint8_t buf[512];

    *ret_well = false;
    if (visit->state == VISIT_SHAKING)
        return step_shaking(visits, visit);
    ssize_t got = bench_wire_recv(&visit->wire, buf, sizeof buf);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return true;
    if (visit->state == VISIT_WAITING)
        return on_connack(visits, visit, buf, got);
    *ret_well = got == 0;
    return got > 0;
}

static void visit_all(struct visits *visits)
{
    struct epoll_event events[EVENTS];
    uint64_t shown = bench_now();
    bool well;

    for (uint32_t i = 0; i < visits->options->publishers && may_begin(visits, shown); i++)
        begin(visits, &visits->slots[i], bench_now());
    visits->moved_at = bench_now();
    while (visits->open && bench_now() - visits->moved_at < PATIENCE) {
        int count = epoll_wait(visits->epoll, events, EVENTS, WAIT);
        for (int i = 0; i < count; i++) {
            struct visit *visit = events[i].data.ptr;
            if (step(visits, visit, &well))
                continue;
            uint64_t now = bench_now();
            end(visits, visit, well);
            visits->moved_at = now;
            if (may_begin(visits, now))
                begin(visits, visit, now);
        }
        bench_progress(&shown, "connect", visits->result->done, "connections");
    }
    bench_progress_end();
    visits->result->lost = visits->open; /* never answered, or never closed */
}

static void measure(struct visits *visits)
{
    const struct bench_options *options = visits->options;
    struct bench_result *result = visits->result;
    uint64_t broker_cpu = bench_process_cpu(options->pid), own_cpu = bench_own_cpu();
    uint64_t started = bench_now();

    visits->deadline = options->messages ? 0 : started + (uint64_t)options->seconds * 1000000000;
    visit_all(visits);
    result->elapsed = bench_now() - started;
    result->own_cpu = bench_own_cpu() - own_cpu;
    result->broker_cpu = bench_process_cpu(options->pid) - broker_cpu;
    result->memory_after = bench_process_memory(options->pid);
    result->sent = visits->begun;
}

int bench_run_connect(const struct bench_options *options)
{
    static struct bench_result result = { .what = "connect", .unit = "connections" };
    struct visits visits = { .options = options, .result = &result };

    if (!bench_raise_descriptor_limit(options->publishers) ||
        !bench_target_init(&visits.target, options))
        return 1;
    visits.epoll = epoll_create1(EPOLL_CLOEXEC);
    visits.slots = calloc(options->publishers, sizeof *visits.slots);
    if (visits.epoll < 0 || !visits.slots) {
        perror("noctule bench");
        free(visits.slots);
        return 1;
    }
    for (uint32_t i = 0; i < options->publishers; i++)
        visits.slots[i].wire.fd = -1;
    measure(&visits);
    for (uint32_t i = 0; i < options->publishers; i++) {
        bench_wire_close(&visits.slots[i].wire);
        bench_session_free(visits.slots[i].session);
    }
    free(visits.slots);
    close(visits.epoll);
    bench_target_done(&visits.target);
    return bench_report(options, &result) ? 0 : 1;
}

/* ---- idle -------------------------------------------------------------------------------- */

int bench_run_idle(const struct bench_options *options)
{
    static struct bench_result result;
    struct bench_options own = *options;
    struct bench_run run;

    own.publishers = 1;
    own.subscribers = options->count;
    bool well = bench_run_init(&run, &own, &result);
    uint64_t memory = bench_process_memory(options->pid), cpu = bench_process_cpu(options->pid);
    uint64_t own_cpu = bench_own_cpu(), started = bench_now();
    while (well && run.subscriber_count < options->count) {
        well = bench_run_add_subscriber(&run) != NULL;
        bench_progress(&run.shown, "idle", run.subscriber_count, "connections");
    }
    bench_progress_end();
    if (well) {
        result.unit = "connections";
        result.sent = result.done = options->count;
        result.elapsed = bench_now() - started;
        result.own_cpu = bench_own_cpu() - own_cpu;
        result.broker_cpu = bench_process_cpu(options->pid) - cpu;
        result.memory_before = memory;
        result.memory_after = bench_process_memory(options->pid);
        result.memory_units = options->count;
        well = bench_report(options, &result);
    }
    bench_run_done(&run);
    return well ? 0 : 1;
}
