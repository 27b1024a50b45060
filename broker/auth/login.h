/* SPDX-License-Identifier: MIT */
/*
 * Who a client is. CONNECT waits for this, as it then waits for its session: the connection is in
 * CONN_CLAIMING and holds what arrives. Whoever is let in gets a user name (conn->user) and a client
 * identifier, and goes on to claim its session; who is not is refused: with 0x86 (a wrong password,
 * and no difference between that and an unknown user), 0x87 (not in this way), or 0x89 (too many
 * wait).
 *
 *     CONNECT ─ login_start ─┬ nobody asks for a password, or it is remembered ─┬ conn_admitted
 *                            └ pool_submit … a thread … MAIL_LOGIN ─ login_decided ┴ conn_refuse
 *
 * Runs on the connection's worker.
 */
#pragma once

#include <stdint.h>

struct conn;
struct conn_names;
struct login;
struct mqtt_connect;
struct worker;

/* Decides, or begins to find out, who sent this CONNECT (whose views live for this call only):
 * conn_admitted() or conn_refuse() is called, maybe before this returns. */
void login_start(struct conn *conn, const struct mqtt_connect *connect, uint64_t now);
/* Whom the CONNECT claims to come from; valid as long as the login. */
void login_names(const struct login *login, struct conn_names *ret_names);
/* The connection has gone. */
void login_abandon(struct login *login);
/* Mail handler: the pool has decided. */
void login_decided(struct worker *worker, struct login *login, uint64_t now);

/* After a reload: ends the connections of those who would not be let in any more. */
void logins_review(struct worker *worker, uint64_t now);
