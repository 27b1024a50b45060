/* SPDX-License-Identifier: MIT */
/*
 * `noctule bench`: the table of scenarios, and from the command line to the exit code. One thread;
 * nothing of the broker is started.
 */
#include "transport/bench.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "transport/bench_meter.h"

/* clang-format off */
static const struct bench_scenario scenarios[] = {
    { "fanin", "many publishers, one subscriber hears them all",
      bench_run_messages, BENCH_ALL, 50, 1, 20, 0, 0 },
    { "fanout", "one publisher, many subscribers hear it",
      bench_run_messages, BENCH_ALL, 1, 100, 100, 0, 0 },
    { "p2p", "pairs of a publisher and a subscriber",
      bench_run_messages, BENCH_OWN, 100, 100, 20, 0, 0 },
    { "ingest", "publishers whom nobody hears",
      bench_run_messages, BENCH_NOBODY, 50, 0, 100, 0, 0 },
    { "shared", "publishers, and one group of subscribers that share the messages",
      bench_run_messages, BENCH_GROUP, 50, 10, 20, 0, 0 },
    { "latency", "one publisher at a fixed rate, one subscriber",
      bench_run_messages, BENCH_ALL, 1, 1, 100, 2000, 0 },
    { "subscriptions", "COUNT wildcard subscriptions; each message matches one",
      bench_run_subscriptions, BENCH_OWN, 50, 10, 20, 0, 100000 },
    { "retained", "sets COUNT retained messages, fetches them, clears them",
      bench_run_retained, BENCH_NOBODY, 10, 1, 100, 0, 100000 },
    { "offline", "queues MESSAGES (100 each) for COUNT sessions that are away, then drains them",
      bench_run_offline, BENCH_NOBODY, 10, 0, 100, 0, 1000 },
    { "connect", "connects and disconnects, PUBLISHERS connections at a time",
      bench_run_connect, BENCH_NOBODY, 10, 0, 1, 0, 0 },
    { "idle", "COUNT connections that do nothing; memory with --pid",
      bench_run_idle, BENCH_NOBODY, 1, 0, 1, 0, 1000 },
};
/* clang-format on */

enum { SCENARIO_COUNT = sizeof scenarios / sizeof *scenarios };

const struct bench_scenario *bench_scenario_find(const char *name)
{
    for (size_t i = 0; i < SCENARIO_COUNT; i++)
        if (strcmp(name, scenarios[i].name) == 0)
            return &scenarios[i];
    return NULL;
}

/* With what it does when options are left out. */
static void scenario_print(const struct bench_scenario *scenario)
{
    const struct {
        const char *name;
        uint32_t preset;
    } presets[] = {
        { "publishers", scenario->publishers }, { "subscribers", scenario->subscribers },
        { "window", scenario->window },         { "rate", scenario->rate },
        { "count", scenario->count },
    };
    const char *before = " (";

    printf("  %-14s %s\n%16s", scenario->name, scenario->help, "");
    for (size_t i = 0; i < sizeof presets / sizeof *presets; i++) {
        if (presets[i].preset <= 1) /* the text says so */
            continue;
        printf("%s--%s %u", before, presets[i].name, (unsigned)presets[i].preset);
        before = " ";
    }
    printf(")\n");
}

void bench_scenarios_print(void)
{
    for (size_t i = 0; i < SCENARIO_COUNT; i++)
        scenario_print(&scenarios[i]);
}

static int print_help(void)
{
    printf("Usage: noctule bench SCENARIO [options]\n"
           "Puts load on an MQTT broker and measures it. Fails when a message is lost, doubled or "
           "out of order.\n\nScenarios:\n");
    bench_scenarios_print();
    printf("\nOptions:\n");
    bench_options_print();
    printf("\nExamples:\n"
           "  noctule bench fanin -q 1 --window 400 --pid $(pidof noctule)\n"
           "  noctule bench latency --rate 500 --tls -p 8883 -u alice -P secret\n"
           "  noctule bench p2p --ws -p 9001 --publishers 1000 --seconds 30 --json\n");
    return 0;
}

int bench_main(int argc, char *const argv[])
{
    struct bench_options options;
    char problem[256];

    if (!bench_options_parse(argc, argv, &options, problem, sizeof problem)) {
        fprintf(stderr, "noctule bench: %s\nnoctule bench --help tells more.\n", problem);
        return 2;
    }
    if (options.help)
        return print_help();
    if (options.pid && !bench_process_memory(options.pid)) {
        fprintf(stderr, "noctule bench: there is no process %u here\n", (unsigned)options.pid);
        return 2;
    }
    signal(SIGPIPE, SIG_IGN); /* a lost connection is an error of send() */
    return options.scenario->run(&options);
}
