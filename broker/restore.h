/* SPDX-License-Identifier: MIT */
/*
 * The start: what the store has kept becomes sessions, subscriptions, groups, queues, exchanges
 * under way and retained messages again.
 */
#pragma once

#include "broker/err.h"

struct broker;

/* On the starting thread, after broker_new() and before any worker has a thread. 0, or a negative
 * errno of the store; -ENOMEM. */
MUST_USE int broker_restore(struct broker *broker);
