/* SPDX-License-Identifier: MIT */
/*
 * The scenarios without messages: connections that come and go as fast as they can, and
 * connections that stay and do nothing. Coming and going is a small state machine a slot:
 *
 *   connect() ─ writable: CONNECT ─ readable: CONNACK → DISCONNECT ─ end of stream: close, again
 *
 * The broker closes first, so that its work of closing is in the account.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "transport/bench_meter.h"
#include "transport/bench_run.h"

enum { EVENTS = 256, WAIT = 100 };
static const uint64_t PATIENCE = 5000000000;

enum visit_state { VISIT_CONNECTING, VISIT_WAITING, VISIT_LEAVING };

struct visit {
    int fd;
    enum visit_state state;
    uint32_t number; /* of its client id */
    uint64_t began;
};

struct visits {
    const struct bench_options *options;
    struct bench_result *result;
    struct bench_target target;
    struct visit *slots;
    int epoll;
    uint32_t begun, open;
    uint64_t deadline, moved_at;
};

static bool may_begin(const struct visits *visits, uint64_t now)
{
    return visits->deadline ? now < visits->deadline : visits->begun < visits->options->messages;
}

static void begin(struct visits *visits, struct visit *visit, uint64_t now)
{
    const struct bench_target *target = &visits->target;
    struct epoll_event event = { .events = EPOLLOUT, .data.ptr = visit };
    const int yes = 1;

    visit->fd = socket(target->family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    visit->state = VISIT_CONNECTING;
    visit->began = now;
    visit->number = visits->begun++;
    if (visit->fd < 0) {
        visits->result->refused++;
        return;
    }
    visits->open++;
    setsockopt(visit->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    if (connect(visit->fd, (const struct sockaddr *)&target->address, target->address_len) &&
        errno != EINPROGRESS)
        visits->result->refused++; /* the event that follows closes it */
    epoll_ctl(visits->epoll, EPOLL_CTL_ADD, visit->fd, &event);
}

static void end(struct visits *visits, struct visit *visit, bool well)
{
    close(visit->fd);
    visit->fd = -1;
    visits->open--;
    visits->result->done += well;
    visits->result->refused += !well;
}

/* False when the visit is over. */
static bool step(struct visits *visits, struct visit *visit, bool *ret_well)
{
    const uint8_t disconnect[] = { MQTT_DISCONNECT << 4, 0 };
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = visit };
    uint8_t buf[512];

    *ret_well = false;
    if (visit->state == VISIT_CONNECTING) {
        size_t len = bench_encode_connect(buf, sizeof buf, visits->target.version, visit->number);
        visit->state = VISIT_WAITING;
        epoll_ctl(visits->epoll, EPOLL_CTL_MOD, visit->fd, &event);
        return send(visit->fd, buf, len, MSG_NOSIGNAL) == (ssize_t)len;
    }
    ssize_t got = recv(visit->fd, buf, sizeof buf, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return true;
    if (visit->state == VISIT_WAITING) {
        /* A CONNACK in one piece: the first bytes that this connection carries. */
        if (got < 4 || buf[0] != MQTT_CONNACK << 4 || buf[3] != 0)
            return false;
        bench_histogram_add(&visits->result->latency, bench_now() - visit->began);
        visit->state = VISIT_LEAVING;
        return send(visit->fd, disconnect, sizeof disconnect, MSG_NOSIGNAL) == sizeof disconnect;
    }
    *ret_well = got == 0;
    return got > 0;
}

static void visit_all(struct visits *visits)
{
    struct epoll_event events[EVENTS];
    bool well;

    for (uint32_t i = 0; i < visits->options->publishers; i++)
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
            if (may_begin(visits, now) && visits->result->refused < 1000)
                begin(visits, visit, now);
        }
    }
    visits->result->lost = visits->open; /* never answered, or never closed */
}

int bench_run_connect(const struct bench_options *options)
{
    static struct bench_result result = { .what = "connect", .unit = "connections" };
    struct visits visits = { .options = options, .result = &result };

    if (!bench_target_find(options->host, options->port, (uint8_t)options->version, &visits.target))
        return 1;
    visits.epoll = epoll_create1(EPOLL_CLOEXEC);
    visits.slots = calloc(options->publishers, sizeof *visits.slots);
    if (visits.epoll < 0 || !visits.slots) {
        perror("noctule bench");
        free(visits.slots);
        return 1;
    }
    uint64_t broker_cpu = bench_process_cpu(options->pid), own_cpu = bench_own_cpu();
    uint64_t started = bench_now();
    visits.deadline = options->messages ? 0 : started + (uint64_t)options->seconds * 1000000000;
    visit_all(&visits);
    result.elapsed = bench_now() - started;
    result.own_cpu = bench_own_cpu() - own_cpu;
    result.broker_cpu = bench_process_cpu(options->pid) - broker_cpu;
    result.memory_after = bench_process_memory(options->pid);
    result.sent = visits.begun;
    for (uint32_t i = 0; i < options->publishers; i++)
        if (visits.slots[i].fd > 0)
            close(visits.slots[i].fd);
    free(visits.slots);
    close(visits.epoll);
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
    while (well && run.subscriber_count < options->count)
        well = bench_run_add_subscriber(&run) != NULL;
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
