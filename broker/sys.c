/* SPDX-License-Identifier: MIT */
/*
 * See sys.h. Reads the relaxed counters of all workers and adds them up; owns what was published
 * last and the load averages. Runs on worker 0.
 */
#include "broker/sys.h"

#include "broker/alloc.h"
#include "broker/broker_state.h"
#include "broker/log.h"
#include "broker/session.h"

#include <assert.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>

enum {
    VALUE_MAX = 64,
    TOPIC_MAX = 128,
    MINUTE = 60000,
    HOUR = 60 * MINUTE,
    HOURS = 25, /* of a day, and the one that has begun */
    DAY = 24 * HOUR,
    NUMBERS_MAX = 64,
    LOADS_MAX = 16,
    SPANS = 3
};

#define SYS "$SYS/broker/"

/* The offset of a counter in struct stats, plus one, so that zero means none. */
#define OF(name) (offsetof(struct stats, name) + 1)

struct sys {
    uint64_t started, last; /* milliseconds */
    uint64_t clients_maximum, heap_maximum;
    uint64_t hour;           /* since the start */
    uint64_t written[HOURS]; /* by the store up to the beginning of an hour */
    char version[VALUE_MAX], store[VALUE_MAX];
    char (*certificates)[VALUE_MAX];      /* by listener, as published last */
    char numbers[NUMBERS_MAX][VALUE_MAX]; /* as published last */
    char loads[LOADS_MAX][SPANS][VALUE_MAX];
    uint64_t before[LOADS_MAX];
    double averages[LOADS_MAX][SPANS]; /* per minute */
};

typedef uint64_t gauge_fn(struct worker *worker);

static uint64_t sum_of(struct worker *worker, size_t counter)
{
    struct broker *broker = worker->broker;
    uint64_t sum = 0;
    for (unsigned i = 0; i < broker->worker_count; i++) {
        const char *stats = (const char *)&broker->workers[i]->stats;
        sum += atomic_load_explicit((const _Atomic uint64_t *)(const void *)(stats + counter - 1),
                                    memory_order_relaxed);
    }
    return sum;
}

static uint64_t sessions(struct worker *worker)
{
    return session_table_count(worker->broker->table);
}

static uint64_t disconnected(struct worker *worker)
{
    uint64_t all = sessions(worker), here = sum_of(worker, OF(clients_connected));
    return all > here ? all - here : 0;
}

static uint64_t maximum(struct worker *worker)
{
    uint64_t all = sessions(worker);
    if (all > worker->sys->clients_maximum)
        worker->sys->clients_maximum = all;
    return worker->sys->clients_maximum;
}

static uint64_t retained_messages(struct worker *worker)
{
    return retained_count(worker->broker->retained);
}

/* Other workers' counts go down and up as their turns end: the sum may be below zero for a moment. */
static uint64_t not_negative(uint64_t n)
{
    return n > UINT64_MAX / 2 ? 0 : n;
}

static uint64_t heap(struct worker *worker)
{
    memory_used_fn *used = worker->broker->env.memory_used;
    uint64_t bytes = used ? used() : 0;
    if (bytes > worker->sys->heap_maximum)
        worker->sys->heap_maximum = bytes;
    return bytes;
}

static uint64_t heap_maximum(struct worker *worker)
{
    return worker->sys->heap_maximum;
}

/* ---- the store ---- */

static const char *const store_states[] = {
    [STORE_WRITES] = "writes",
    [STORE_WAITING] = "waits for the disk",
    [STORE_REFUSES] = "refuses: the disk is full or fails",
};

static struct store_stats store_stats(struct worker *worker)
{
    struct store *store = worker->broker->store;
    struct store_stats stats = { .state = STORE_WRITES };
    if (store->ops->stats)
        store->ops->stats(store, &stats);
    return stats;
}

/* What is in memory alone, and what is on disk, whether or not it is in memory as well. */
static uint64_t messages(struct worker *worker)
{
    return not_negative(message_count() + store_stats(worker).messages);
}

static uint64_t messages_size(struct worker *worker)
{
    return not_negative(message_payload_bytes() + store_stats(worker).payload);
}

static uint64_t store_commits(struct worker *worker)
{
    return store_stats(worker).commits;
}

static uint64_t store_waiting(struct worker *worker)
{
    return store_stats(worker).waiting;
}

static uint64_t store_written(struct worker *worker)
{
    return store_stats(worker).written;
}

static uint64_t store_messages(struct worker *worker)
{
    return store_stats(worker).stored;
}

static uint64_t store_spared(struct worker *worker)
{
    return store_stats(worker).spared;
}

/* What was written in the last 24 hours, by the hour; less when it is not that long ago that the
 * broker was started. */
static uint64_t store_written_a_day(struct worker *worker)
{
    struct sys *sys = worker->sys;
    uint64_t written = store_written(worker), hour = (worker->now - sys->started) / HOUR;
    for (; sys->hour < hour; sys->hour++)
        sys->written[(sys->hour + 1) % HOURS] = written;
    return written - sys->written[(hour + 1) % HOURS];
}

/* A number: the sum of a counter, or what a function says. */
struct number {
    const char *topic;
    size_t counter;
    gauge_fn *gauge;
};

static const struct number numbers[] = {
    { SYS "clients/total", .gauge = sessions },
    { SYS "clients/maximum", .gauge = maximum },
    { SYS "clients/connected", OF(clients_connected), NULL },
    { SYS "clients/active", OF(clients_connected), NULL },
    { SYS "clients/disconnected", .gauge = disconnected },
    { SYS "clients/inactive", .gauge = disconnected },
    { SYS "clients/expired", OF(clients_expired), NULL },
    { SYS "messages/received", OF(packets_received), NULL },
    { SYS "messages/sent", OF(packets_sent), NULL },
    { SYS "publish/messages/received", OF(publish_received), NULL },
    { SYS "publish/messages/sent", OF(publish_sent), NULL },
    { SYS "publish/messages/dropped", OF(publish_dropped), NULL },
    { SYS "publish/messages/dropped/queue full", OF(queue_dropped), NULL },
    { SYS "publish/messages/dropped/too large", OF(too_large_dropped), NULL },
    { SYS "publish/messages/dropped/expired", OF(expired_dropped), NULL },
    { SYS "publish/messages/dropped/store damaged", OF(unreadable_dropped), NULL },
    { SYS "publish/messages/dropped/store late", OF(late_refused), NULL },
    { SYS "publish/messages/dropped/not authorised", OF(publish_denied), NULL },
    { SYS "publish/messages/dropped/not readable", OF(deliveries_denied), NULL },
    { SYS "bytes/received", OF(bytes_received), NULL },
    { SYS "bytes/sent", OF(bytes_sent), NULL },
    { SYS "publish/bytes/received", OF(publish_bytes_received), NULL },
    { SYS "publish/bytes/sent", OF(publish_bytes_sent), NULL },
    { SYS "subscriptions/count", OF(subscriptions), NULL },
    { SYS "shared_subscriptions/count", OF(shared_subscriptions), NULL },
    { SYS "retained messages/count", .gauge = retained_messages },
    { SYS "messages/stored", .gauge = messages },
    { SYS "store/messages/count", .gauge = messages },
    { SYS "store/messages/bytes", .gauge = messages_size },
    { SYS "store/commits", .gauge = store_commits },
    { SYS "store/bytes/waiting", .gauge = store_waiting },
    { SYS "store/bytes/written", .gauge = store_written },
    { SYS "store/bytes/written/day", .gauge = store_written_a_day },
    { SYS "store/messages/written", .gauge = store_messages },
    { SYS "store/messages/spared", .gauge = store_spared },
    { SYS "heap/current", .gauge = heap },
    { SYS "heap/maximum", .gauge = heap_maximum }, /* of those that "current" has been */
};

/* A load: the change of a counter per minute, averaged over 1, 5 and 15 minutes. */
struct load {
    const char *name;
    size_t counter;
};

static const struct load loads[] = {
    { "messages/received", OF(packets_received) },
    { "messages/sent", OF(packets_sent) },
    { "publish/received", OF(publish_received) },
    { "publish/sent", OF(publish_sent) },
    { "publish/dropped", OF(publish_dropped) },
    { "bytes/received", OF(bytes_received) },
    { "bytes/sent", OF(bytes_sent) },
    { "sockets", OF(connections) },
    { "connections", OF(connects) },
};

enum {
    NUMBERS = sizeof numbers / sizeof *numbers,
    LOADS = sizeof loads / sizeof *loads,
};
static_assert((int)NUMBERS <= (int)NUMBERS_MAX && (int)LOADS <= (int)LOADS_MAX,
              "what was published has no room");

static const struct {
    const char *name;
    double minutes;
} spans[SPANS] = { { "1min", 1 }, { "5min", 5 }, { "15min", 15 } };

static void publish(struct worker *worker, const char *topic, const char *value, uint64_t now)
{
    struct message *message = message_from_text(topic, value, true);
    (void)route_message(worker,
                        &(struct route){ .message = message, .retained = true, .own = true }, now);
}

static void publish_changed(struct worker *worker, const char *topic, const char *value,
                            char last[VALUE_MAX], uint64_t now)
{
    if (strcmp(value, last) == 0)
        return;
    memcpy(last, value, strlen(value) + 1);
    publish(worker, topic, value, now);
}

static void publish_numbers(struct worker *worker, uint64_t now)
{
    char value[VALUE_MAX];
    for (size_t i = 0; i < NUMBERS; i++) {
        const struct number *number = &numbers[i];
        uint64_t n = number->gauge ? number->gauge(worker) : sum_of(worker, number->counter);
        snprintf(value, sizeof value, "%" PRIu64, n);
        publish_changed(worker, number->topic, value, worker->sys->numbers[i], now);
    }
}

/* e^-x for x ≥ 0, by its series: no need for libm. */
static double decay(double x)
{
    double term = 1, sum = 1;
    for (int i = 1; i < 30; i++) {
        term *= x / i;
        sum += term;
    }
    return 1 / sum;
}

static void publish_load(struct worker *worker, size_t i, double minutes, uint64_t now)
{
    struct sys *sys = worker->sys;
    char value[VALUE_MAX], topic[TOPIC_MAX];
    uint64_t count = sum_of(worker, loads[i].counter);
    double per_minute = (double)(count - sys->before[i]) / minutes;
    sys->before[i] = count;
    for (size_t s = 0; s < SPANS; s++) {
        double keep = decay(minutes / spans[s].minutes);
        sys->averages[i][s] = per_minute + keep * (sys->averages[i][s] - per_minute);
        snprintf(topic, sizeof topic, SYS "load/%s/%s", loads[i].name, spans[s].name);
        snprintf(value, sizeof value, "%.2f", sys->averages[i][s]);
        publish_changed(worker, topic, value, sys->loads[i][s], now);
    }
}

/* The listener's name as one level of a topic. */
static void put_level(char *out, size_t size, const struct listener_config *listener)
{
    listener_name(listener, out, size);
    for (; *out; out++)
        if (strchr("/+#", *out))
            *out = '_';
}

/* Negative once it has expired. */
static void publish_certificates(struct worker *worker, uint64_t now)
{
    const struct config *config = worker->config;
    for (size_t i = 0; i < config->listener_count; i++) {
        uint64_t expires = atomic_load(&worker->broker->certificates[i]);
        char name[TOPIC_MAX], topic[2 * TOPIC_MAX], value[VALUE_MAX];
        if (expires == 0)
            continue;
        put_level(name, sizeof name, &config->listeners[i]);
        snprintf(topic, sizeof topic, SYS "listeners/%s/certificate/days until expiry", name);
        snprintf(value, sizeof value, "%" PRId64,
                 expires >= now ? (int64_t)((expires - now) / DAY)
                                : -(int64_t)((now - expires) / DAY) - 1);
        publish_changed(worker, topic, value, worker->sys->certificates[i], now);
    }
}

static void sys_timer(struct timer *timer, uint64_t now)
{
    struct worker *worker = CONTAINER_OF(timer, struct worker, sys_timer);
    struct sys *sys = worker->sys;
    uint64_t interval = worker->config->sys_interval;
    char value[VALUE_MAX];
    if (interval == 0)
        return;
    snprintf(value, sizeof value, "noctule version %s", worker->broker->env.version);
    publish_changed(worker, SYS "version", value, sys->version, now);
    snprintf(value, sizeof value, "%" PRIu64 " seconds", (now - sys->started) / 1000);
    publish(worker, SYS "uptime", value, now);
    publish_numbers(worker, now);
    publish_changed(worker, SYS "store/state",
                    worker->broker->store->keeps ? store_states[store_stats(worker).state]
                                                 : "keeps nothing",
                    sys->store, now);
    publish_certificates(worker, now);
    if (now > sys->last)
        for (size_t i = 0; i < LOADS; i++)
            publish_load(worker, i, (double)(now - sys->last) / MINUTE, now);
    sys->last = now;
    wheel_set(&worker->wheel, timer, now + interval * 1000);
}

void sys_start(struct worker *worker)
{
    worker->sys = must_have(calloc(1, sizeof *worker->sys));
    worker->sys->certificates = must_have(
        calloc(worker->config->listener_count, sizeof *worker->sys->certificates));
    worker->sys->started = worker->sys->last = worker->now;
    worker->sys_timer.fire = sys_timer;
    sys_timer(&worker->sys_timer, worker->now);
}

void sys_reload(struct worker *worker)
{
    if (!worker->sys)
        return;
    wheel_cancel(&worker->sys_timer);
    sys_timer(&worker->sys_timer, worker->now);
}

void sys_free(struct worker *worker)
{
    if (worker->sys)
        free(worker->sys->certificates);
    free(worker->sys);
}
