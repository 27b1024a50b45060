/* SPDX-License-Identifier: MIT */
/*
 * Wills: when one is sent stands in one table (will.c). Sent means routed like any other
 * message, from the worker that had the connection.
 */
#pragma once

#include "broker/conn_state.h"

struct session;
struct worker;

/* The connection has ended: send its will, hand it to the session to be sent later, or forget
 * it. Call before session_detach(). */
void will_decide(struct conn *conn, enum conn_end end, uint64_t now);
/* Sends the session's delayed will now. */
void will_send_delayed(struct worker *worker, struct session *session, uint64_t now);
