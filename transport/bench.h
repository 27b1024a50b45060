/* SPDX-License-Identifier: MIT */
/*
 * `noctule bench`: a load generator for any MQTT broker. This header is what its files share: the
 * options, the scenarios, the result of one measurement. The generator is a program of its own that
 * happens to live in the same executable: one thread, plain sockets on epoll, no broker code.
 *
 *   bench.c          the scenarios, the command line's outcome
 *   bench_options.c  the command line
 *   bench_wire.c     TLS and WebSocket, from the connection to the kernel
 *   bench_client.c   one connection
 *   bench_run.c      the loop that publishes, receives and checks
 *   bench_connect.c  connections that come and go, or stay idle
 *   bench_offline.c  sessions whose clients are away
 *   bench_meter.c    processor time and memory, ours and the broker's
 *   bench_report.c   the line or the JSON object at the end
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "transport/bench_histogram.h"

struct bench_options;

/* Runs the scenario and reports; the exit code. */
typedef int bench_runner(const struct bench_options *options);

enum bench_audience {
    BENCH_NOBODY, /* no subscriber */
    BENCH_OWN,    /* publisher n is heard by one subscriber alone */
    BENCH_ALL,    /* every subscriber hears every publisher */
    BENCH_GROUP,  /* one member of a shared subscription hears a message */
};

struct bench_scenario {
    const char *name, *help;
    bench_runner *run;
    enum bench_audience audience;
    uint32_t publishers, subscribers, window, rate, count; /* what options leave out */
};

struct bench_options {
    const struct bench_scenario *scenario;
    const char *host;
    uint32_t port;
    uint32_t qos;
    uint32_t version; /* as CONNECT spells it: 4 or 5 */
    uint32_t payload; /* bytes */
    uint32_t publishers, subscribers;
    uint32_t window;   /* messages that a publisher may have under way */
    uint32_t count;    /* connections, subscriptions or retained messages */
    uint32_t messages; /* to publish in all; 0: for as long as `seconds` says */
    uint32_t seconds;
    uint32_t rate;               /* messages a second in all, open loop; 0: closed loop */
    uint32_t pid;                /* of the broker; 0: not known */
    const char *user, *password; /* NULL: none */
    const char *cafile;          /* whose certificates are believed; NULL: any */
    bool tls, websocket, resume;
    bool persistent; /* the subscribers' sessions outlive their connections */
    bool json, help;
};

enum { BENCH_CREDENTIAL_MAX = 1500 }; /* bytes of a user name, or of a password, maybe a token */
enum { BENCH_STAMP = 16 }; /* bytes of every payload that are ours: publisher, number, time */

/* One line of the report. */
struct bench_result {
    const char *what;    /* "fanin", "retained set" */
    const char *unit;    /* what `done` counts: "messages" */
    uint64_t sent, done; /* done: delivered; what CPU time is divided by */
    uint64_t lost, doubled, disordered, refused;
    uint64_t resumed;             /* TLS sessions */
    bool loss_is_allowed;         /* QoS 0, open loop */
    uint64_t elapsed;             /* nanoseconds */
    uint64_t own_cpu, broker_cpu; /* nanoseconds */
    uint64_t memory_before, memory_after,
        memory_units; /* bytes; of the broker; shared by so many */
    struct bench_histogram latency;
};

/* The sub-command; argv[0] is "bench". 0 all well, 1 the run failed, 2 a mistake in the arguments. */
int bench_main(int argc, char *const argv[]);

const struct bench_scenario *bench_scenario_find(const char *name); /* NULL: no such */
void bench_scenarios_print(void);

/*
 * Reads the command line into ret_options; on a mistake writes a line to `problem` and returns
 * false.
 */
bool bench_options_parse(int argc, char *const argv[], struct bench_options *ret_options,
                         char *problem, size_t room);
void bench_options_print(void); /* the options' part of the help */

/* Prints the result; false when messages were lost, doubled, out of order or refused. */
bool bench_report(const struct bench_options *options, const struct bench_result *result);

/* A line that is written over, twice a second and only where somebody is looking. */
void bench_progress(uint64_t *shown, const char *what, uint64_t done, const char *unit);
void bench_progress_end(void);

/* A descriptor for every client; false: the hard limit does not allow that, which is printed. */
bool bench_raise_descriptor_limit(uint32_t clients);

bench_runner bench_run_messages, bench_run_subscriptions, bench_run_retained, bench_run_connect,
    bench_run_idle, bench_run_offline;
