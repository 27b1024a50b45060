/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as a token, and any claims in one that is signed: a token is refused with a reason or its
 * claims are what MQTT can use. The first byte says which; the rest is the token or its body.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "broker/auth/base64.h"
#include "broker/auth/jwt.h"
#include "broker/err.h"
#include "broker/problems.h"
#include "mqtt/topic.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char secret[] = "a secret of more than thirty-two bytes";

static struct jwt_rules *rules(void)
{
    static struct jwt_rules *made; /* for all inputs */
    struct problems problems = { 0 };
    if (!made)
        made = jwt_rules_parse(
            &(struct jwt_settings){ .keyfile = "key", .username_claim = "sub", .acl_claim = "acl" },
            span_str(secret), &problems);
    CHECK(made);
    return made;
}

static void verify(struct span token)
{
    struct jwt_claims claims;
    const char *why = jwt_verify(rules(), token, 1700000000000, &claims);
    (void)jwt_looks_like(token);
    if (why)
        return;
    CHECK(claims.user[0] && mqtt_utf8_valid(span_str(claims.user)));
    CHECK(claims.expires > 1700000000000);
    for (size_t i = 0; i < claims.filter_count; i++)
        CHECK(mqtt_topic_filter_valid(span_str(claims.filters[i].filter)));
    jwt_claims_done(&claims);
}

/* A token that says `body`, with a good signature. */
static void verify_signed(struct span body)
{
    static const char head[] = "eyJhbGciOiJIUzI1NiJ9."; /* {"alg":"HS256"} */
    uint8_t mac[32];
    unsigned len = 0;
    char *token = malloc(sizeof head + BASE64_ROOM(body.len) + BASE64_ROOM(sizeof mac) + 1);
    CHECK(token);
    memcpy(token, head, sizeof head);
    size_t at = sizeof head - 1;
    at += base64_encode(BASE64_URL, body, token + at);
    CHECK(HMAC(EVP_sha256(), secret, (int)strlen(secret), (const uint8_t *)token, at, mac, &len));
    token[at++] = '.';
    at += base64_encode(BASE64_URL, span_of(mac, len), token + at);
    verify(span_of(token, at));
    free(token);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    if (data[0] & 1)
        verify(span_of(data + 1, size - 1));
    else
        verify_signed(span_of(data + 1, size - 1));
    return 0;
}
