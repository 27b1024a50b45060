/* SPDX-License-Identifier: MIT */
/*
 * The command line of `noctule bench`: a table of options, from which also the help is printed. It
 * fills in a struct and judges it; it opens nothing and prints nothing but the help.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mqtt/packet.h"
#include "transport/bench.h"

enum kind { KIND_TEXT, KIND_NUMBER, KIND_VERSION, KIND_FLAG };

#define FIELD(name) offsetof(struct bench_options, name)

/* clang-format off */
static const struct bench_option {
    const char *brief, *full;
    const char *value; /* how the help calls it; NULL: the option takes none */
    enum kind kind;
    size_t field;
    uint32_t min, max;
    const char *help;
} bench_table[] = {
    { "-h", "--host", "HOST", KIND_TEXT, FIELD(host), 0, 0, "The broker's address (localhost)." },
    { "-p", "--port", "PORT", KIND_NUMBER, FIELD(port), 1, 65535, "Its port (1883)." },
    { "-u", "--username", "NAME", KIND_TEXT, FIELD(user), 0, 0, "Who the clients are." },
    { "-P", "--password", "TEXT", KIND_TEXT, FIELD(password), 0, 0, "What proves it." },
    { NULL, "--tls", NULL, KIND_FLAG, FIELD(tls), 0, 0,
      "Encrypt. The broker's certificate is not checked unless --cafile is given." },
    { NULL, "--cafile", "FILE", KIND_TEXT, FIELD(cafile), 0, 0,
      "Certificates of who may have signed the broker's." },
    { NULL, "--resume", NULL, KIND_FLAG, FIELD(resume), 0, 0,
      "connect: resume the TLS session of the connection before." },
    { NULL, "--ws", NULL, KIND_FLAG, FIELD(websocket), 0, 0,
      "WebSocket, with a frame for every packet (path /mqtt)." },
    { NULL, "--persistent", NULL, KIND_FLAG, FIELD(persistent), 0, 0,
      "The subscribers' sessions outlive their connections, so a broker that stores, stores." },
    { "-q", "--qos", "QOS", KIND_NUMBER, FIELD(qos), 0, 2,
      "QoS of publishers and subscribers (0)." },
    { "-V", "--protocol", "311|5", KIND_VERSION, FIELD(version), 0, 0,
      "Version of the protocol (311)." },
    { "-s", "--size", "BYTES", KIND_NUMBER, FIELD(payload), BENCH_STAMP, 16777216,
      "Payload of a message (64; 16 at least)." },
    { NULL, "--publishers", "N", KIND_NUMBER, FIELD(publishers), 1, 1000000, "Publishers." },
    { NULL, "--subscribers", "N", KIND_NUMBER, FIELD(subscribers), 1, 1000000, "Subscribers." },
    { NULL, "--window", "N", KIND_NUMBER, FIELD(window), 1, 65535,
      "Messages that a publisher may have under way." },
    { NULL, "--count", "N", KIND_NUMBER, FIELD(count), 1, 10000000,
      "Connections, sessions, subscriptions or retained messages." },
    { NULL, "--messages", "N", KIND_NUMBER, FIELD(messages), 1, UINT32_MAX,
      "Publish so many in all, then stop." },
    { NULL, "--seconds", "N", KIND_NUMBER, FIELD(seconds), 1, 86400,
      "Publish for so long (5)." },
    { NULL, "--rate", "N", KIND_NUMBER, FIELD(rate), 1, 100000000,
      "Messages a second in all, whether or not they arrive." },
    { NULL, "--pid", "PID", KIND_NUMBER, FIELD(pid), 1, INT32_MAX,
      "The broker's process, on this machine: report its CPU time and memory." },
    { NULL, "--json", NULL, KIND_FLAG, FIELD(json), 0, 0, "Report one JSON object a line." },
    { NULL, "--help", NULL, KIND_FLAG, FIELD(help), 0, 0, "Print this, and exit." },
};
/* clang-format on */

enum { OPTION_COUNT = sizeof bench_table / sizeof *bench_table };

static bool mistake(char *problem, size_t room, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static bool mistake(char *problem, size_t room, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(problem, room, format, args);
    va_end(args);
    return false;
}

static const struct bench_option *option_find(const char *word)
{
    for (size_t i = 0; i < OPTION_COUNT; i++)
        if (strcmp(word, bench_table[i].full) == 0 ||
            (bench_table[i].brief && strcmp(word, bench_table[i].brief) == 0))
            return &bench_table[i];
    return NULL;
}

static bool number_parse(const char *text, uint32_t min, uint32_t max, uint32_t *ret_number)
{
    char *end = NULL;
    /* strtoull takes signs and blanks as well: a digit must come first. */
    unsigned long long number = *text >= '0' && *text <= '9' ? strtoull(text, &end, 10) : 0;

    if (!end || *end || strlen(text) > 10 || number < min || number > max)
        return false;
    *ret_number = (uint32_t)number;
    return true;
}

static bool version_parse(const char *text, uint32_t *ret_version)
{
    if (strncmp(text, "mqttv", 5) == 0) /* as mosquitto's clients spell it */
        text += 5;
    if (strcmp(text, "311") != 0 && strcmp(text, "4") != 0 && strcmp(text, "5") != 0)
        return false;
    *ret_version = *text == '5' ? MQTT_V5 : MQTT_V311;
    return true;
}

/* False when the value is not what the option takes. */
static bool option_take(const struct bench_option *option, const char *value,
                        struct bench_options *options)
{
    char *field = (char *)options + option->field;

    switch (option->kind) {
    case KIND_TEXT: memcpy(field, &value, sizeof value); return true;
    case KIND_NUMBER:
        return number_parse(value, option->min, option->max, (uint32_t *)(void *)field);
    case KIND_VERSION: return version_parse(value, (uint32_t *)(void *)field);
    case KIND_FLAG: *(bool *)field = true; return true;
    }
    return false;
}

/* What the scenario says for options that were left out. */
static void options_complete(struct bench_options *options)
{
    const struct bench_scenario *scenario = options->scenario;
    const struct {
        uint32_t *field, preset;
    } presets[] = {
        { &options->publishers, scenario->publishers },
        { &options->subscribers, scenario->subscribers },
        { &options->window, scenario->window },
        { &options->count, scenario->count },
        { &options->seconds, options->messages ? 0 : 5 },
    };

    /* A closed loop that was asked for by its window stays one. */
    if (!options->rate && !options->window)
        options->rate = scenario->rate;
    for (size_t i = 0; i < sizeof presets / sizeof *presets; i++)
        if (!*presets[i].field)
            *presets[i].field = presets[i].preset;
    if (scenario->audience == BENCH_OWN && scenario->run == bench_run_messages)
        options->subscribers = options->publishers;
    if (scenario->audience == BENCH_NOBODY)
        options->subscribers = 0;
}

static bool too_long(const char *text)
{
    return text && strlen(text) > BENCH_CREDENTIAL_MAX;
}

bool bench_options_parse(int argc, char *const argv[], struct bench_options *ret_options,
                         char *problem, size_t room)
{
    struct bench_options options = {
        .host = "localhost", .port = 1883, .version = MQTT_V311, .payload = 64
    };

    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        if (*word != '-') {
            if (options.scenario)
                return mistake(problem, room, "one scenario at a time, please: %s", word);
            options.scenario = bench_scenario_find(word);
            if (!options.scenario)
                return mistake(problem, room, "no such scenario: %s", word);
            continue;
        }
        const struct bench_option *option = option_find(word);
        if (!option)
            return mistake(problem, room, "no such option: %s", word);
        if (option->value && ++i == argc)
            return mistake(problem, room, "%s wants a value", word);
        if (!option_take(option, argv[i], &options))
            return option->kind == KIND_NUMBER
                       ? mistake(problem, room, "%s cannot be %s: %u to %u", word, argv[i],
                                 (unsigned)option->min, (unsigned)option->max)
                       : mistake(problem, room, "%s cannot be %s: %s", word, argv[i],
                                 option->value);
    }
    if (!options.help) {
        if (!options.scenario)
            return mistake(problem, room, "which scenario?");
        if (options.cafile || options.resume)
            options.tls = true;
        if (options.messages && options.seconds)
            return mistake(problem, room, "either --messages or --seconds");
        if (options.password && !options.user)
            return mistake(problem, room, "a --password wants a --username");
        if (too_long(options.user) || too_long(options.password))
            return mistake(problem, room, "--username and --password: at most %d bytes",
                           BENCH_CREDENTIAL_MAX);
        options_complete(&options);
    }
    *ret_options = options;
    return true;
}

void bench_options_print(void)
{
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        const struct bench_option *option = &bench_table[i];
        char left[40];
        snprintf(left, sizeof left, "%s%s%s %s", option->brief ? option->brief : "",
                 option->brief ? ", " : "", option->full, option->value ? option->value : "");
        printf("  %-22s %s\n", left, option->help);
    }
}
