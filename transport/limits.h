/* SPDX-License-Identifier: MIT */
/*
 * How much of the machine the process may use: CPUs and descriptors. Everything but the two
 * functions that ask the system is arithmetic, so that it can be tested. Runs on the main thread
 * before anything else starts.
 */
#pragma once

#include <stdint.h>

#include "broker/err.h"

struct config;

/* Without max_connections for every listener, room for this many descriptors is made. */
#define LIMITS_DESCRIPTORS_DEFAULT 65536u
/* libwebsockets keeps 16 bytes per descriptor and context, and miscounts above 10 million. */
#define LIMITS_DESCRIPTORS_MAX 4194304u

/* CPUs that the text of a cgroup v2 `cpu.max` file ("150000 100000") allows, rounded up; 0: no
 * limit, or not understood. */
unsigned limits_cpu_quota(const char *text);

/* CPUs the process may use, by affinity and cgroup quota; at least 1. */
unsigned limits_cpus(void);

/* Descriptors to ask for so that `connections` (0: as many as is sensible) fit beside those of
 * `workers` and `listeners`, never more than `hard`. */
uint64_t limits_descriptors(uint64_t hard, uint64_t connections, unsigned workers,
                            size_t listeners);

/* The sum of max_connections of all listeners; 0 when one of them has none. */
uint64_t limits_connections(const struct config *config);

/* Sets the soft limit; on success `ret_limit` is what holds now. */
MUST_USE enum err limits_set_descriptors(const struct config *config, unsigned workers,
                                         uint64_t *ret_limit);

/* Descriptors that are open now. */
unsigned limits_open_descriptors(void);
