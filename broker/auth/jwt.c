/* SPDX-License-Identifier: MIT */
/*
 * See jwt.h: the three parts of a token, the signature before anything that it says is believed,
 * then the claims one by one. Numbers in JSON may be fractions; dates beyond what fits are refused.
 */
#include "broker/auth/jwt.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include <jansson.h>
#include <openssl/crypto.h>

#include "broker/alloc.h"
#include "broker/auth/base64.h"
#include "broker/auth/jwt_key.h"
#include "broker/problems.h"
#include "broker/whole_file.h"
#include "mqtt/topic.h"

enum {
    KEYFILE_MAX = 256 * 1024,
    USER_MAX = 65535,
    FILTERS_MAX = 1000,
    SECONDS_MAX =
        1000000000, /* of a date, in thousands: far from where milliseconds would overflow */
};

struct jwt_rules {
    atomic_uint references;
    struct jwt_key *keys[JWT_KEYS_MAX];
    size_t key_count;
    char *issuer, *audience, *username_claim, *acl_claim; /* NULL: nothing is asked for */
    uint32_t leeway;
};

/* ---- making ---------------------------------------------------------------------------------- */

static char *copy(const char *text)
{
    char *own = text ? strdup(text) : NULL;
    CHECK(own || !text);
    return own;
}

struct jwt_rules *jwt_rules_parse(const struct jwt_settings *settings, struct span key,
                                  struct problems *problems)
{
    const char *why = NULL;
    struct jwt_rules *rules = must_have(calloc(1, sizeof *rules));
    rules->key_count = jwt_keys_read(key, rules->keys, JWT_KEYS_MAX, &why);
    if (rules->key_count == 0) {
        problems_add(problems, PROBLEM_ERROR, settings->keyfile, 0, "auth_jwt_keyfile: it %s", why);
        free(rules);
        return NULL;
    }
    atomic_init(&rules->references, 1);
    rules->issuer = copy(settings->issuer);
    rules->audience = copy(settings->audience);
    rules->username_claim = copy(settings->username_claim);
    rules->acl_claim = copy(settings->acl_claim);
    rules->leeway = settings->leeway;
    return rules;
}

struct jwt_rules *jwt_rules_load(const struct jwt_settings *settings, struct problems *problems)
{
    size_t len;
    char *text = whole_file_read(settings->keyfile, KEYFILE_MAX, &len);
    if (!text) {
        problems_add(problems, PROBLEM_ERROR, settings->keyfile, 0,
                     "auth_jwt_keyfile cannot be read: %s", strerror(errno));
        return NULL;
    }
    struct jwt_rules *rules = jwt_rules_parse(settings, span_of(text, len), problems);
    OPENSSL_cleanse(text, len);
    free(text);
    return rules;
}

struct jwt_rules *jwt_rules_ref(struct jwt_rules *rules)
{
    atomic_fetch_add_explicit(&rules->references, 1, memory_order_relaxed);
    return rules;
}

void jwt_rules_unref(struct jwt_rules *rules)
{
    if (!rules || atomic_fetch_sub_explicit(&rules->references, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < rules->key_count; i++)
        jwt_key_free(rules->keys[i]);
    free(rules->issuer);
    free(rules->audience);
    free(rules->username_claim);
    free(rules->acl_claim);
    free(rules);
}

bool jwt_rules_have_key(const struct jwt_rules *rules, uint64_t key)
{
    for (size_t i = 0; rules && i < rules->key_count; i++)
        if (jwt_key_fingerprint(rules->keys[i]) == key)
            return true;
    return false;
}

/* ---- the three parts ------------------------------------------------------------------------- */

struct parts {
    struct span head, body, signature; /* still in Base64 */
    struct span signed_text;           /* head and body, with the dot between */
};

static bool take_apart(struct span token, struct parts *ret)
{
    const uint8_t *first = token.len ? memchr(token.data, '.', token.len) : NULL;
    if (!first)
        return false;
    size_t head = (size_t)(first - token.data), rest = token.len - head - 1;
    const uint8_t *second = memchr(first + 1, '.', rest);
    if (!second)
        return false;
    size_t body = (size_t)(second - first - 1);
    ret->head = span_of(token.data, head);
    ret->body = span_of(first + 1, body);
    ret->signature = span_of(second + 1, rest - body - 1);
    ret->signed_text = span_of(token.data, head + 1 + body);
    return !memchr(ret->signature.data, '.', ret->signature.len);
}

bool jwt_looks_like(struct span password)
{
    struct parts parts;
    return password.len > 3 && memcmp(password.data, "eyJ", 3) == 0 &&
           take_apart(password, &parts); /* {" */
}

/* The JSON object in a part; NULL: it is none. */
static json_t *read_object(struct span part)
{
    uint8_t text[JWT_BYTES_MAX];
    size_t len;
    if (!base64_decode(BASE64_URL, part, text, sizeof text, &len))
        return NULL;
    /* a name twice would be two statements, and readers differ in which one they believe */
    json_t *value = json_loadb((const char *)text, len, JSON_REJECT_DUPLICATES, NULL);
    if (json_is_object(value))
        return value;
    json_decref(value);
    return NULL;
}

/* ---- the signature --------------------------------------------------------------------------- */

static bool find_key(const struct jwt_rules *rules, const char *algorithm,
                     const struct parts *parts, struct span signature, uint64_t *ret_key)
{
    for (size_t i = 0; i < rules->key_count; i++) {
        if (strcmp(algorithm, jwt_key_algorithm(rules->keys[i])) != 0 ||
            !jwt_key_verifies(rules->keys[i], parts->signed_text, signature))
            continue;
        *ret_key = jwt_key_fingerprint(rules->keys[i]);
        return true;
    }
    return false;
}

static const char *check_signature(const struct jwt_rules *rules, const struct parts *parts,
                                   uint64_t *ret_key)
{
    uint8_t signature[1024];
    size_t len;
    const char *why;
    if (!base64_decode(BASE64_URL, parts->signature, signature, sizeof signature, &len))
        return "its token has a signature that is not Base64";
    json_t *head = read_object(parts->head);
    if (!head)
        return "its token does not begin with a JSON object";
    const char *algorithm = json_string_value(json_object_get(head, "alg"));
    if (json_object_get(head, "crit")) /* it must be understood, and nothing of it is */
        why = "its token demands extensions that are not known";
    else if (!algorithm)
        why = "its token names no algorithm";
    else
        why = find_key(rules, algorithm, parts, span_of(signature, len), ret_key)
                  ? NULL
                  : "its token is not signed with a known key";
    json_decref(head);
    return why;
}

/* ---- claims ---------------------------------------------------------------------------------- */

/* A date as milliseconds; false: it is none. */
static bool read_date(const json_t *value, uint64_t *ret)
{
    double seconds = json_number_value(value);
    if (!json_is_number(value) || !(seconds >= 0) || seconds > (double)SECONDS_MAX * 1000)
        return false;
    *ret = (uint64_t)(seconds * 1000);
    return true;
}

static const char *check_dates(const struct jwt_rules *rules, const json_t *body, uint64_t now,
                               uint64_t *ret_expires)
{
    const json_t *begins = json_object_get(body, "nbf");
    uint64_t leeway = (uint64_t)rules->leeway * 1000, from = 0, until = 0;
    if (!read_date(json_object_get(body, "exp"), &until))
        return "its token has no date of expiry (exp)";
    if (begins && !read_date(begins, &from))
        return "its token begins at no date (nbf)";
    if (until + leeway <= now)
        return "its token has expired";
    if (from > now + leeway)
        return "its token is not valid yet";
    *ret_expires = until + leeway;
    return NULL;
}

static bool is_text(const json_t *value, const char *text)
{
    return json_is_string(value) && json_string_length(value) == strlen(text) &&
           strcmp(json_string_value(value), text) == 0;
}

static bool is_for(const json_t *audience, const char *us)
{
    size_t i;
    json_t *one;
    if (is_text(audience, us))
        return true;
    json_array_foreach(audience, i, one)
    {
        if (is_text(one, us))
            return true;
    }
    return false;
}

static const char *take_user(const struct jwt_rules *rules, const json_t *body,
                             struct jwt_claims *claims)
{
    const json_t *user = json_object_get(body, rules->username_claim);
    struct span text = { 0 };
    if (json_is_string(user))
        text = span_of(json_string_value(user), json_string_length(user));
    if (text.len == 0 || text.len > USER_MAX || !mqtt_utf8_valid(text))
        return "its token names no user";
    claims->user = copy(json_string_value(user));
    return NULL;
}

/* ---- topic filters --------------------------------------------------------------------------- */

static bool add_filter(struct jwt_claims *claims, const json_t *value, unsigned access)
{
    struct span filter = { 0 }, name, rest;
    if (json_is_string(value))
        filter = span_of(json_string_value(value), json_string_length(value));
    if (claims->filter_count == FILTERS_MAX || !mqtt_utf8_valid(filter) ||
        !mqtt_topic_filter_valid(filter) || mqtt_share_split(filter, &name, &rest))
        return false;
    claims->filters[claims->filter_count++] = (struct jwt_filter){
        .filter = copy(json_string_value(value)),
        .access = access,
    };
    return true;
}

static const char *take_filters(const struct jwt_rules *rules, const json_t *body,
                                struct jwt_claims *claims)
{
    static const struct {
        const char *name;
        unsigned access;
    } lists[] = {
        { "pub", JWT_PUBLISH },
        { "sub", JWT_SUBSCRIBE },
        { "all", JWT_PUBLISH | JWT_SUBSCRIBE },
    };
    const json_t *rights = rules->acl_claim ? json_object_get(body, rules->acl_claim) : NULL;
    if (!rights)
        return NULL;
    if (!json_is_object(rights))
        return "its token's topics are not an object of lists";
    claims->has_filters = true;
    claims->filters = calloc(FILTERS_MAX, sizeof *claims->filters);
    if (!claims->filters)
        return "no memory for its token's topics";
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        const json_t *list = json_object_get(rights, lists[i].name);
        size_t at;
        json_t *one;
        if (list && !json_is_array(list))
            return "its token's topics are not an object of lists";
        json_array_foreach(list, at, one)
        {
            if (!add_filter(claims, one, lists[i].access))
                return "its token's topics hold what is no topic filter, or too many";
        }
    }
    return NULL;
}

void jwt_claims_done(struct jwt_claims *claims)
{
    for (size_t i = 0; i < claims->filter_count; i++)
        free(claims->filters[i].filter);
    free(claims->filters);
    free(claims->user);
    *claims = (struct jwt_claims){ 0 };
}

/* ---- all of it ------------------------------------------------------------------------------- */

static const char *check_claims(const struct jwt_rules *rules, const json_t *body, uint64_t now,
                                struct jwt_claims *claims)
{
    const char *why = check_dates(rules, body, now, &claims->expires);
    if (!why && rules->issuer && !is_text(json_object_get(body, "iss"), rules->issuer))
        why = "its token is of another issuer";
    if (!why && rules->audience && !is_for(json_object_get(body, "aud"), rules->audience))
        why = "its token is for another audience";
    if (!why)
        why = take_user(rules, body, claims);
    return why ? why : take_filters(rules, body, claims);
}

const char *jwt_verify(const struct jwt_rules *rules, struct span token, uint64_t now,
                       struct jwt_claims *ret)
{
    struct jwt_claims claims = { 0 };
    struct parts parts;
    if (token.len > JWT_BYTES_MAX || !take_apart(token, &parts))
        return "its token is not one, or too large";
    const char *why = check_signature(rules, &parts, &claims.key);
    if (why)
        return why;
    json_t *body = read_object(parts.body);
    if (!body)
        return "its token does not say anything";
    why = check_claims(rules, body, now, &claims);
    json_decref(body);
    if (why)
        jwt_claims_done(&claims);
    else
        *ret = claims;
    return why;
}
