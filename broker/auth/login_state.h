/* SPDX-License-Identifier: MIT */
/*
 * A CONNECT that waits until it is known who sent it: what login.c makes, pool.c decides, and
 * login.c goes on with. It belongs to the worker, then to the pool, then to the worker again; the
 * connection may go meanwhile.
 */
#pragma once

#include <stdatomic.h>

#include "broker/auth/jwt.h"
#include "broker/auth/remembered.h"
#include "broker/list.h"
#include "mqtt/span.h"

struct conn;
struct password_file;
struct worker;

enum login_verdict { LOGIN_WRONG, LOGIN_RIGHT, LOGIN_BUSY };

struct login {
    struct list node;         /* in the pool's queue */
    struct worker *worker;    /* (i) */
    struct conn *conn;        /* (worker) NULL: it has gone meanwhile */
    atomic_bool abandoned;    /* (a) the same for the pool */
    struct jwt_rules *jwt;    /* (i) one reference: the password is a token; NULL: it is not */
    uint64_t now;             /* (i) for its dates */
    struct jwt_claims claims; /* (pool) what it says, when it is good */
    const char *why;          /* (pool) and else why it is not, a literal */
    struct password_file *passwords;    /* (i) one reference */
    const struct password_hash *stored; /* (i) part of it; of another user when there is no such */
    bool known;                         /* (i) there is such a user */
    bool tagged;                        /* `tag` is one */
    uint8_t tag[REMEMBERED_TAG];        /* see remembered.h */
    enum login_verdict verdict;         /* (pool) */
    uint32_t client_id_len, user_len, password_len; /* (i) */
    uint8_t bytes[];                                /* (i) client identifier, user name, password */
};

static inline struct span login_client_id(const struct login *login)
{
    return span_of(login->bytes, login->client_id_len);
}

static inline struct span login_user(const struct login *login)
{
    return span_of(login->bytes + login->client_id_len, login->user_len);
}

static inline struct span login_password(const struct login *login)
{
    return span_of(login->bytes + login->client_id_len + login->user_len, login->password_len);
}

static inline size_t login_size(const struct login *login)
{
    return sizeof *login + login->client_id_len + login->user_len + login->password_len;
}

void login_free(struct login *login); /* accepts NULL */
