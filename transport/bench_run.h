/* SPDX-License-Identifier: MIT */
/*
 * The loop of the load generator: publishers that keep `window` messages under way (closed loop) or
 * follow a clock (open loop), subscribers that acknowledge and check. The scenarios set it up,
 * run it once or more, and report.
 *
 *   init ─ add subscribers, add publishers ─ start ─ loop until all is sent and heard ─ finish
 */
#pragma once

#include "transport/bench_check.h"
#include "transport/bench_client.h"

enum { BENCH_TOPIC_MAX = 64 };

struct bench_publisher {
    struct bench_client *client;
    uint8_t *packet; /* encoded once; number, time and identifier are patched in a copy */
    uint32_t size, id_at, stamp_at, digits_at; /* positions in the packet; 0: it has none */
    uint32_t index;
    uint32_t sent, heard, acked;
    uint32_t settled; /* of those sent: heard by all and acknowledged */
    uint32_t quota, window;
    bool queued; /* in the list of those that may send */
};

struct bench_run {
    const struct bench_options *options;
    struct bench_target target;
    enum bench_audience audience;
    uint32_t subscriber_count, publisher_count;
    uint32_t client_room; /* clients that were reserved: subscribers, then publishers */
    struct bench_client *clients;
    struct bench_publisher *publishers;
    struct bench_check check;
    int epoll, timer;
    uint32_t *ready; /* publishers that may send */
    uint32_t ready_count;
    uint8_t *in, *out;            /* scratch of all connections */
    size_t room;                  /* bytes in `out` */
    uint64_t sent, acked, wanted; /* wanted: arrivals that the messages sent should bring */
    uint64_t deadline;            /* 0: when `messages` are sent */
    uint32_t pongs;
    uint32_t topics; /* counting topics begin anew after so many; 0: never */
    uint32_t turn;   /* open loop: the publisher whose turn it is */
    bool retain, broken;
    enum bench_session session; /* of the clients that connect next */
    struct bench_result *result;
    uint64_t started, shown, own_cpu, broker_cpu;
    uint32_t packet_max; /* bytes of the largest packet */
};

/* Looks up the broker and makes room for so many clients. False: what went wrong is printed. */
bool bench_run_init(struct bench_run *run, const struct bench_options *options,
                    struct bench_result *result);
void bench_run_done(struct bench_run *run);

/* Connects the next subscriber; it is idle until bench_run_watch(). */
struct bench_client *bench_run_add_subscriber(struct bench_run *run);
bool bench_run_subscribe(struct bench_run *run, struct bench_client *client, const char *filter);
/* Connects the next publisher. `digits`: the topic ends in 8 digits that count the messages. */
bool bench_run_add_publisher(struct bench_run *run, const char *topic, bool digits);
/* Encodes the publisher's packet anew; payload 0: an empty one, without our stamp. */
void bench_run_encode(struct bench_run *run, struct bench_publisher *publisher, const char *topic,
                      bool digits, uint32_t payload);
bool bench_run_watch(struct bench_run *run, struct bench_client *client);

/* Publishes `messages` (0: until the time of the options is over), waits for all to arrive. */
void bench_run_publish(struct bench_run *run, uint32_t messages);
/* The meters start. bench_run_publish() does it by itself. */
void bench_run_begin(struct bench_run *run);
/* Without publishing: until `wanted` messages were heard. */
void bench_run_listen(struct bench_run *run);
