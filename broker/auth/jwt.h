/* SPDX-License-Identifier: MIT */
/*
 * Signed tokens as passwords (JSON Web Tokens, RFC 7519, in the compact form of RFC 7515), verified
 * with a key from a file. The key says with which algorithm a token must be signed, never the token:
 *
 *     an RSA key, public or a certificate      RS256
 *     an EC key of the curve P-256             ES256
 *     an Ed25519 or Ed448 key                  EdDSA
 *     a file that is no PEM: a secret          HS256
 *
 * Rules are immutable once they are made, and counted: any thread may verify. A token is any bytes
 * from a stranger.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/err.h"
#include "mqtt/span.h"

struct jwt_rules;
struct problems;

enum { JWT_BYTES_MAX = 16 * 1024, JWT_KEYS_MAX = 16 };

/* What is asked of a token, and what its claims are called. Text is borrowed and copied; NULL asks
 * for nothing. */
struct jwt_settings {
    const char *keyfile;
    const char *issuer;         /* `iss` must be it */
    const char *audience;       /* `aud` must be it, or have it among others */
    const char *username_claim; /* whose text is the user name */
    const char *acl_claim;      /* whose topic filters are the client's; see jwt_claims */
    uint32_t leeway;            /* seconds by which clocks may differ */
};

/* NULL when the problems hold an error. */
struct jwt_rules *jwt_rules_load(const struct jwt_settings *settings, struct problems *problems);
/* The same with the key's text from memory, where settings->keyfile stands for it in messages. */
struct jwt_rules *jwt_rules_parse(const struct jwt_settings *settings, struct span key,
                                  struct problems *problems);
struct jwt_rules *jwt_rules_ref(struct jwt_rules *rules);
void jwt_rules_unref(struct jwt_rules *rules); /* accepts NULL */
/* Whether a token signed with that key would be good; NULL has no key. */
bool jwt_rules_have_key(const struct jwt_rules *rules, uint64_t key);

/* Topic filters of a claim such as {"pub": ["a/#"], "sub": ["b/+"], "all": ["c"]}. */
enum jwt_access { JWT_PUBLISH = 1, JWT_SUBSCRIBE = 2 }; /* bits */
struct jwt_filter {
    char *filter; /* owned, valid, without $share */
    unsigned access;
};

struct jwt_claims {
    char *user;       /* owned; a valid string of MQTT */
    uint64_t expires; /* milliseconds since 1970, leeway included */
    uint64_t key;     /* fingerprint of the key that it is signed with */
    bool has_filters; /* there is such a claim: what it does not name is forbidden */
    struct jwt_filter *filters;
    size_t filter_count;
};

/* NULL: the token is good, and *ret its claims, to be freed. Else why not, for the log. `now` is
 * milliseconds since 1970. */
const char *jwt_verify(const struct jwt_rules *rules, struct span token, uint64_t now,
                       struct jwt_claims *ret);
void jwt_claims_done(struct jwt_claims *claims);

/* Whether a password is meant as a token: three parts of Base64, the first of which begins like a
 * JSON object. */
bool jwt_looks_like(struct span password);
