/* SPDX-License-Identifier: MIT */
/*
 * See login.h. Owns the logins that wait, together with the pool.
 */
#include "broker/auth/login.h"

#include "broker/auth/login_state.h"
#include "broker/auth/password_file.h"
#include "broker/auth/pool.h"
#include "broker/auth/token_rules.h"
#include "broker/broker_state.h"
#include "broker/conn_state.h"

#include <stdlib.h>

#include <openssl/crypto.h>
#include <xxhash.h>

enum { ASSIGNED_ID_BYTES = 16, CLIENT_ID_ROOM = 256 };

/* Writes a client identifier that nobody can guess; returns its length. */
static size_t assign_id(const struct conn *conn, char *id, size_t room)
{
    static const char digits[] = "0123456789ABCDEF";
    uint8_t random[ASSIGNED_ID_BYTES];
    size_t len = strlen(conn->listener->auto_id_prefix);
    if (len > room - 2 * sizeof random)
        len = room - 2 * sizeof random;
    memcpy(id, conn->listener->auto_id_prefix, len);
    conn->worker->broker->env.random(random, sizeof random);
    for (size_t i = 0; i < sizeof random; i++) {
        id[len++] = digits[random[i] >> 4];
        id[len++] = digits[random[i] & 15];
    }
    return len;
}

static bool has_prefix(struct span text, const char *prefix)
{
    size_t len = strlen(prefix);
    return text.len >= len && memcmp(text.data, prefix, len) == 0;
}

/* The client is let in under the name conn->user: what it is called, and whether that may be. */
static void admit(struct conn *conn, struct span client_id, uint64_t now)
{
    const struct listener_config *listener = conn->listener;
    const char *prefix = conn->config->clientid_prefixes;
    char assigned[CLIENT_ID_ROOM];
    bool nameless = client_id.len == 0;
    if (listener->use_username_as_clientid) {
        if (!conn->user || !conn->user[0]) {
            conn_refuse(conn, MQTT_NOT_AUTHORIZED, "has no user name to be its client identifier",
                        now);
            return;
        }
        client_id = span_str(conn->user);
    } else if (nameless) {
        client_id = span_of(assigned, assign_id(conn, assigned, sizeof assigned));
    }
    conn->assigned = nameless;
    if (prefix && !has_prefix(client_id, prefix)) {
        conn_refuse(conn, MQTT_NOT_AUTHORIZED,
                    "its client identifier does not begin as clientid_prefixes wants it", now);
        return;
    }
    conn_admitted(conn, client_id, now);
}

/* ---- waiting --------------------------------------------------------------------------------- */

void login_free(struct login *login)
{
    if (!login)
        return;
    password_file_unref(login->passwords);
    jwt_rules_unref(login->jwt);
    jwt_claims_done(&login->claims);
    OPENSSL_cleanse(login->bytes, login_size(login) - sizeof *login);
    free(login);
}

void login_abandon(struct login *login)
{
    login->conn = NULL;
    atomic_store(&login->abandoned, true);
}

static void append(struct login *login, uint32_t *ret_len, size_t *at, struct span bytes)
{
    *ret_len = (uint32_t)bytes.len;
    if (bytes.len)
        memcpy(login->bytes + *at, bytes.data, bytes.len);
    *at += bytes.len;
}

static struct login *login_new(struct conn *conn, const struct mqtt_connect *connect)
{
    struct span client_id = connect->client_id, user = connect->username,
                password = connect->has_password ? connect->password : (struct span){ 0 };
    struct login *login = calloc(1, sizeof *login + client_id.len + user.len + password.len);
    size_t at = 0;
    if (!login)
        return NULL;
    login->worker = conn->worker;
    login->conn = conn;
    append(login, &login->client_id_len, &at, client_id);
    append(login, &login->user_len, &at, user);
    append(login, &login->password_len, &at, password);
    return login;
}

static uint64_t fingerprint(const struct password_hash *stored)
{
    return XXH3_64bits(stored, sizeof *stored) | 1; /* never 0 */
}

/* What its password, or its token, has proved. False without memory. */
static bool take_proof(struct conn *conn, const struct login *login, uint64_t now)
{
    if (!login->jwt) {
        conn->credential = fingerprint(login->stored);
        return conn_take_user(conn, login_user(login));
    }
    conn->credential = login->claims.key;
    conn->expires_at = now + (login->claims.expires - login->now);
    conn->token_rules = token_rules_of(&login->claims);
    return conn_take_user(conn, span_str(login->claims.user));
}

void login_names(const struct login *login, struct conn_names *ret_names)
{
    *ret_names = (struct conn_names){ login_client_id(login), login_user(login) };
}

static void finish(struct conn *conn, struct login *login, uint64_t now)
{
    struct conn_names names;
    login_names(login, &names);
    conn->names = &names;
    conn->login = NULL;
    if (login->verdict == LOGIN_BUSY)
        conn_refuse(conn, MQTT_SERVER_BUSY, "too many passwords wait to be checked", now);
    else if (login->verdict == LOGIN_WRONG)
        conn_refuse(conn, MQTT_BAD_USER_NAME_OR_PASSWORD,
                    login->why ? login->why : "has a wrong user name or password", now);
    else if (!take_proof(conn, login, now))
        conn_refuse(conn, MQTT_SERVER_BUSY, "no memory for its user name", now);
    else
        admit(conn, login_client_id(login), now);
    conn->names = NULL;
    login_free(login);
}

static void submit(struct conn *conn, struct login *login, uint64_t now)
{
    conn->login = login;
    if (pool_submit(conn->worker->broker->pool, login, conn->config->auth_queue))
        return;
    login->verdict = LOGIN_BUSY;
    finish(conn, login, now);
}

/* By the password file that holds now. Takes the login over. */
static void check_password(struct conn *conn, struct login *login, uint64_t now)
{
    struct password_file *passwords = conn->listener->passwords;
    login->verdict = LOGIN_WRONG;
    login->tagged = false;
    login->stored = passwords ? password_file_find(passwords, login_user(login)) : NULL;
    login->known = login->stored != NULL;
    if (!login->known && passwords)
        login->stored = password_file_decoy(passwords, login_user(login));
    if (!login->stored) {
        finish(conn, login, now); /* there is no user at all */
        return;
    }
    login->passwords = password_file_ref(passwords);
    if (!pool_remembers(conn->worker->broker->pool, login)) {
        submit(conn, login, now);
        return;
    }
    login->verdict = LOGIN_RIGHT;
    finish(conn, login, now);
}

/* By the keys that hold now. Takes the login over. */
static void check_token(struct conn *conn, struct login *login, uint64_t now)
{
    if (!conn->listener->jwt) {
        login->verdict = LOGIN_WRONG;
        finish(conn, login, now);
        return;
    }
    login->jwt = jwt_rules_ref(conn->listener->jwt);
    uint64_t (*wall_clock)(void) = conn->worker->broker->env.wall_clock;
    login->now = wall_clock ? wall_clock() : now;
    submit(conn, login, now);
}

/* A reload since it was submitted makes void what was found out. */
static bool is_void(const struct conn *conn, const struct login *login)
{
    return login->jwt ? conn->listener->jwt != login->jwt
                      : conn->listener->passwords != login->passwords;
}

static void check_again(struct conn *conn, struct login *login, uint64_t now)
{
    bool token = login->jwt != NULL;
    password_file_unref(login->passwords);
    login->passwords = NULL;
    jwt_rules_unref(login->jwt);
    login->jwt = NULL;
    jwt_claims_done(&login->claims);
    if (token)
        check_token(conn, login, now);
    else
        check_password(conn, login, now);
}

void login_decided(struct worker *worker, struct login *login, uint64_t now)
{
    struct conn *conn = login->conn;
    (void)worker;
    if (!conn) {
        login_free(login);
        return;
    }
    conn_take_config(conn);
    if (is_void(conn, login))
        check_again(conn, login, now);
    else
        finish(conn, login, now);
}

/* ---- who asks -------------------------------------------------------------------------------- */

/* CONNECT's user name and password are of no interest then, as in mosquitto. */
static bool by_certificate(const struct listener_config *listener)
{
    return listener->use_identity_as_username || listener->use_subject_as_username;
}

/* How somebody may say who he is on this listener, and how he does. */
enum proof { BY_CERTIFICATE, BY_TOKEN, BY_PASSWORD, BY_NOTHING_KNOWN, BY_NOTHING };

static enum proof proof_of(const struct listener_config *listener,
                           const struct mqtt_connect *connect)
{
    bool tokens = listener->auth_jwt_keyfile != NULL;
    if (by_certificate(listener))
        return BY_CERTIFICATE;
    if (tokens && connect->has_password && jwt_looks_like(connect->password))
        return BY_TOKEN;
    if (listener->password_file && connect->has_username)
        return BY_PASSWORD;
    /* With tokens alone, a user name is one that nobody has proved. */
    if (tokens && (connect->has_username || connect->has_password))
        return BY_NOTHING_KNOWN;
    return BY_NOTHING;
}

static void start_certified(struct conn *conn, const struct mqtt_connect *connect, uint64_t now)
{
    if (conn->certified)
        admit(conn, connect->client_id, now);
    else
        conn_refuse(conn, MQTT_BAD_USER_NAME_OR_PASSWORD,
                    "its certificate holds no name that could be a user name", now);
}

static void start_checked(struct conn *conn, const struct mqtt_connect *connect, bool token,
                          uint64_t now)
{
    struct login *login = login_new(conn, connect);
    if (!login)
        conn_refuse(conn, MQTT_SERVER_BUSY, "no memory for its login", now);
    else if (token)
        check_token(conn, login, now);
    else
        check_password(conn, login, now);
}

static void start_unchecked(struct conn *conn, const struct mqtt_connect *connect, uint64_t now)
{
    const struct listener_config *listener = conn->listener;
    struct span user = connect->username.len ? connect->username : span_of("", 0);
    bool asks = listener->password_file || listener->auth_jwt_keyfile;
    if (!listener->allow_anonymous)
        conn_refuse(conn, MQTT_NOT_AUTHORIZED,
                    asks ? "does not say who it is, and allow_anonymous is not true"
                         : "is not authorised: this listener allows nobody",
                    now);
    else if (connect->has_username && !conn_take_user(conn, user))
        conn_refuse(conn, MQTT_SERVER_BUSY, "no memory for its user name", now);
    else
        admit(conn, connect->client_id, now);
}

void login_start(struct conn *conn, const struct mqtt_connect *connect, uint64_t now)
{
    switch (proof_of(conn->listener, connect)) {
    case BY_CERTIFICATE: start_certified(conn, connect, now); break;
    case BY_TOKEN: start_checked(conn, connect, true, now); break;
    case BY_PASSWORD: start_checked(conn, connect, false, now); break;
    case BY_NOTHING_KNOWN:
        conn_refuse(conn, MQTT_BAD_USER_NAME_OR_PASSWORD, "its password is no token", now);
        break;
    case BY_NOTHING: start_unchecked(conn, connect, now); break;
    }
}

/* ---- after a reload -------------------------------------------------------------------------- */

static bool still_welcome(const struct worker *worker, const struct conn *conn)
{
    const struct listener_config *listener = &worker->config->listeners[conn->listener->index];
    if (by_certificate(listener))
        return true;
    if (conn->expires_at)
        return jwt_rules_have_key(listener->jwt, conn->credential);
    if (!conn->user || (!listener->password_file && !listener->auth_jwt_keyfile))
        return listener->allow_anonymous;
    const struct password_hash *stored = listener->passwords
                                             ? password_file_find(listener->passwords,
                                                                  span_str(conn->user))
                                             : NULL;
    return stored && fingerprint(stored) == conn->credential;
}

void logins_review(struct worker *worker, uint64_t now)
{
    for (struct list *node = worker->conns.next, *next; node != &worker->conns; node = next) {
        next = node->next;
        struct conn *conn = CONTAINER_OF(node, struct conn, worker_node);
        bool admitted = conn->phase == CONN_OPEN || conn->claim;
        if (admitted && !still_welcome(worker, conn))
            conn_close(conn, MQTT_ADMINISTRATIVE_ACTION,
                       "may not connect any more, as the configuration says now", now);
    }
}
