/* SPDX-License-Identifier: MIT */
/*
 * One connection of the load generator: a plain socket, opened and subscribed while nothing is
 * measured (blocking), then non-blocking. Bytes are read into a scratch buffer that all
 * connections share, and written from one; a connection keeps only what the kernel did not take
 * and the beginning of a packet.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "mqtt/encode.h"

enum { BENCH_SCRATCH = 512 * 1024 };

struct bench_target {
    struct sockaddr_storage address;
    socklen_t address_len;
    int family;
    uint8_t version;
};

struct bench_client {
    int fd; /* -1: closed */
    uint32_t index;
    bool is_publisher;
    bool waits_to_write;  /* the loop watches for room */
    uint16_t receive_max; /* what the broker allows; 65,535 when it does not say */
    uint8_t *rest;        /* written when the kernel has room again */
    size_t rest_len, rest_room;
    uint8_t *held; /* the beginning of a packet */
    size_t held_len, held_room;
};

/* Looks the host up. What went wrong is printed. */
bool bench_target_find(const char *host, uint32_t port, uint8_t version,
                       struct bench_target *ret_target);

/* Writes a CONNECT with a client id made of our pid and `number`; returns its size. */
size_t bench_encode_connect(uint8_t *out, size_t room, uint8_t version, uint32_t number);

/* Connects and waits for the CONNACK. `client` must be zeroed. What went wrong is printed. */
bool bench_client_open(struct bench_client *client, const struct bench_target *target,
                       uint32_t number);
/* `filters`: each a string with its length, then the options byte. Waits for the SUBACK. */
bool bench_client_subscribe(struct bench_client *client, uint8_t version, struct span filters);
bool bench_client_go(struct bench_client *client); /* non-blocking from here on */
void bench_client_done(struct bench_client *client);

/* Sends now or keeps; false when the connection is lost. */
bool bench_client_send(struct bench_client *client, const uint8_t *data, size_t len);
bool bench_client_flush(struct bench_client *client);

/*
 * Reads what is there into `scratch`, behind what is held. False when the connection is lost. The
 * caller takes packets off ret_bytes and gives the remainder back with bench_client_hold().
 */
bool bench_client_read(struct bench_client *client, uint8_t *scratch, struct span *ret_bytes);
void bench_client_hold(struct bench_client *client, struct span rest);
