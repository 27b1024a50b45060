/* SPDX-License-Identifier: MIT */
/*
 * Tokens: those of the RFCs, and others that are signed here with keys of every kind. What a token
 * says counts only when the signature is right, and then only if it says what is asked for.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>

#include "broker/auth/base64.h"
#include "broker/auth/jwt.h"
#include "broker/problems.h"

#define NOW UINT64_C(1700000000000)

static const char secret[] = "a secret of more than thirty-two bytes";

static const struct jwt_settings plain = { .keyfile = "key", .username_claim = "sub" };

/* ---- keys and signatures ---- */

enum kind { RS256, ES256, EDDSA, HS256, KINDS };

static const char *const names[KINDS] = { "RS256", "ES256", "EdDSA", "HS256" };

struct key {
    enum kind kind;
    EVP_PKEY *pair;  /* NULL: the secret */
    char text[4096]; /* of the file */
};

static struct key make_key(enum kind kind)
{
    struct key key = { .kind = kind };
    if (kind == HS256) {
        snprintf(key.text, sizeof key.text, "%s\n", secret);
        return key;
    }
    key.pair = kind == RS256   ? EVP_RSA_gen(2048)
               : kind == ES256 ? EVP_EC_gen("P-256")
                               : EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    assert_non_null(key.pair);
    BIO *out = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_PUBKEY(out, key.pair), 1);
    int len = BIO_read(out, key.text, sizeof key.text - 1);
    assert_true(len > 0);
    key.text[len] = '\0';
    BIO_free(out);
    return key;
}

static size_t sign_es256(EVP_MD_CTX *context, const char *text, uint8_t *out)
{
    uint8_t der[128];
    const uint8_t *at = der;
    size_t len = sizeof der;
    assert_int_equal(EVP_DigestSign(context, der, &len, (const uint8_t *)text, strlen(text)), 1);
    ECDSA_SIG *pair = d2i_ECDSA_SIG(NULL, &at, (long)len);
    assert_non_null(pair);
    assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_r(pair), out, 32), 32);
    assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_s(pair), out + 32, 32), 32);
    ECDSA_SIG_free(pair);
    return 64;
}

static size_t sign(const struct key *key, const char *text, uint8_t out[512])
{
    size_t len = 512;
    unsigned mac_len = 0;
    if (!key->pair) {
        assert_non_null(HMAC(EVP_sha256(), secret, (int)strlen(secret), (const uint8_t *)text,
                             strlen(text), out, &mac_len));
        return mac_len;
    }
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    assert_int_equal(EVP_DigestSignInit(context, NULL, key->kind == EDDSA ? NULL : EVP_sha256(),
                                        NULL, key->pair),
                     1);
    if (key->kind == ES256)
        len = sign_es256(context, text, out);
    else
        assert_int_equal(EVP_DigestSign(context, out, &len, (const uint8_t *)text, strlen(text)),
                         1);
    EVP_MD_CTX_free(context);
    return len;
}

/* A token with this head and body, signed with the key. */
static const char *token_of(const struct key *key, const char *head, const char *body)
{
    static char token[16384];
    uint8_t signature[512];
    size_t at = base64_encode(BASE64_URL, span_str(head), token);
    token[at++] = '.';
    at += base64_encode(BASE64_URL, span_str(body), token + at);
    size_t len = sign(key, token, signature);
    token[at++] = '.';
    base64_encode(BASE64_URL, span_of(signature, len), token + at);
    return token;
}

static const char *token(const struct key *key, const char *body)
{
    char head[64];
    snprintf(head, sizeof head, "{\"typ\":\"JWT\",\"alg\":\"%s\"}", names[key->kind]);
    return token_of(key, head, body);
}

static struct jwt_rules *rules_of(const struct jwt_settings *settings, const char *text)
{
    struct problems problems = { 0 };
    struct jwt_rules *rules = jwt_rules_parse(settings, span_str(text), &problems);
    problems_print(&problems, stderr);
    assert_non_null(rules);
    problems_done(&problems);
    return rules;
}

static void accepted(const struct jwt_rules *rules, const char *text, const char *user,
                     uint64_t expires)
{
    struct jwt_claims claims;
    const char *why = jwt_verify(rules, span_str(text), NOW, &claims);
    if (why)
        fail_msg("%s", why);
    assert_string_equal(claims.user, user);
    assert_int_equal(claims.expires, expires);
    jwt_claims_done(&claims);
}

static void refused(const struct jwt_rules *rules, const char *text, const char *wanted)
{
    struct jwt_claims claims;
    const char *why = jwt_verify(rules, span_str(text), NOW, &claims);
    if (!why || !strstr(why, wanted))
        fail_msg("\"%s\", not \"%s\"", why ? why : "accepted", wanted);
}

#define GOOD "{\"sub\":\"alice\",\"exp\":1700000001}"

/* ---- signatures ---- */

static void test_token_of_the_rfc_is_verified(void **state)
{ /* RFC 7515, appendices A.1 and A.3 */
    static const char hs256[] =
        "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9."
        "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0"
        "dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    static const char es256[] =
        "eyJhbGciOiJFUzI1NiJ9."
        "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNv"
        "bS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-"
        "F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxf"
        "KTUJqPP3-Kg6NU1Q";
    static const char public[] =
        "-----BEGIN PUBLIC KEY-----\n"
        "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEf83OJ3D2xF1Bg8vub9tLe1gHMzV7\n"
        "6e8Tus9uPHvRVEXH8UTNG72bfocs3+257rn0s2ldbqkLJK2KRiMohYjlrQ==\n"
        "-----END PUBLIC KEY-----\n";
    static const struct jwt_settings by_issuer = { .keyfile = "key", .username_claim = "iss" };
    uint8_t key[64];
    size_t len;
    struct problems problems = { 0 };
    struct jwt_claims claims;
    (void)state;
    assert_true(
        base64_decode(BASE64_URL,
                      span_str("AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj"
                               "0iPS4hcgUuTwjAzZr1Z9CAow"),
                      key, sizeof key, &len));
    struct jwt_rules *rules = jwt_rules_parse(&by_issuer, span_of(key, len), &problems);
    assert_non_null(rules);
    assert_null(jwt_verify(rules, span_str(hs256), 1300819379999, &claims));
    assert_string_equal(claims.user, "joe");
    jwt_claims_done(&claims);
    assert_non_null(jwt_verify(rules, span_str(hs256), 1300819380000, &claims));
    jwt_rules_unref(rules);
    rules = rules_of(&by_issuer, public);
    assert_null(jwt_verify(rules, span_str(es256), 1300819379999, &claims));
    jwt_claims_done(&claims);
    assert_non_null(jwt_verify(rules, span_str(hs256), 1300819379999, &claims));
    jwt_rules_unref(rules);
}

static void test_token_signed_with_each_kind_of_key_is_verified_with_that_one_alone(void **state)
{
    (void)state;
    for (enum kind kind = 0; kind < KINDS; kind++) {
        struct key key = make_key(kind), other = make_key(kind);
        if (kind == HS256)
            snprintf(other.text, sizeof other.text, "another secret of thirty-two bytes");
        struct jwt_rules *rules = rules_of(&plain, key.text),
                         *others = rules_of(&plain, other.text);
        accepted(rules, token(&key, GOOD), "alice", 1700000001000);
        refused(others, token(&key, GOOD), "not signed with a known key");
        jwt_rules_unref(rules);
        jwt_rules_unref(others);
        EVP_PKEY_free(key.pair);
        EVP_PKEY_free(other.pair);
    }
}

static void test_token_that_is_changed_anywhere_is_refused(void **state)
{
    (void)state;
    for (enum kind kind = 0; kind < KINDS; kind++) {
        struct key key = make_key(kind);
        struct jwt_rules *rules = rules_of(&plain, key.text);
        struct jwt_claims claims;
        char *text = strdup(token(&key, GOOD));
        for (size_t i = 0, len = strlen(text); i < len; i += kind == RS256 ? 2 : 1) {
            char was = text[i];
            text[i] = was == 'A' ? 'B' : 'A';
            assert_non_null(jwt_verify(rules, span_str(text), NOW, &claims));
            assert_non_null(jwt_verify(rules, span_of(text, i), NOW, &claims)); /* cut off */
            text[i] = was;
        }
        free(text);
        jwt_rules_unref(rules);
        EVP_PKEY_free(key.pair);
    }
}

static void test_token_does_not_choose_its_algorithm(void **state)
{
    struct key rsa = make_key(RS256), hmac = make_key(HS256);
    struct jwt_rules *rules = rules_of(&plain, rsa.text);
    char forged[8192];
    uint8_t mac[64];
    unsigned len = 0;
    (void)state;
    refused(rules, token_of(&rsa, "{\"alg\":\"none\"}", GOOD), "not signed");
    refused(rules, token_of(&rsa, "{\"alg\":\"HS256\"}", GOOD), "not signed");
    refused(rules, token_of(&rsa, "{\"alg\":\"rs256\"}", GOOD), "not signed");
    refused(rules, token_of(&rsa, "{\"alg\":1}", GOOD), "names no algorithm");
    refused(rules, token_of(&rsa, "{}", GOOD), "names no algorithm");
    refused(rules, token_of(&rsa, "[\"alg\"]", GOOD), "JSON object");
    refused(rules, token_of(&rsa, "{\"alg\":\"RS256\",\"alg\":\"RS256\"}", GOOD), "JSON object");
    refused(rules, token_of(&rsa, "{\"alg\":\"RS256\",\"crit\":[\"b64\"],\"b64\":false}", GOOD),
            "extensions");
    /* the public key, which everybody may know, is no secret */
    snprintf(forged, sizeof forged, "%s", token_of(&hmac, "{\"alg\":\"HS256\"}", GOOD));
    char *dot = strrchr(forged, '.');
    HMAC(EVP_sha256(), rsa.text, (int)strlen(rsa.text), (const uint8_t *)forged,
         (size_t)(dot - forged), mac, &len);
    base64_encode(BASE64_URL, span_of(mac, len), dot + 1);
    refused(rules, forged, "not signed");
    /* and no signature at all */
    dot[1] = '\0';
    refused(rules, forged, "not signed");
    jwt_rules_unref(rules);
    EVP_PKEY_free(rsa.pair);
}

static void test_several_keys_in_one_file_are_all_good(void **state)
{
    struct key one = make_key(ES256), two = make_key(EDDSA), three = make_key(ES256);
    char text[3 * sizeof one.text];
    (void)state;
    snprintf(text, sizeof text, "# the old one\n%s\n# the new one\n%s", one.text, two.text);
    struct jwt_rules *rules = rules_of(&plain, text);
    accepted(rules, token(&one, GOOD), "alice", 1700000001000);
    accepted(rules, token(&two, GOOD), "alice", 1700000001000);
    refused(rules, token(&three, GOOD), "not signed");
    jwt_rules_unref(rules);
    EVP_PKEY_free(one.pair);
    EVP_PKEY_free(two.pair);
    EVP_PKEY_free(three.pair);
}

static void test_key_that_is_none_is_named(void **state)
{
    static const struct {
        const char *text, *why;
    } bad[] = {
        { "", "must have 32 to 4096 bytes" },
        { "too short a secret\n", "must have 32 to 4096 bytes" },
        { "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "must hold public keys" },
        { "-----BEGIN PUBLIC KEY-----\nAAAA\n", "no block of PEM that is whole" },
        { "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "and nothing else" },
        /* RSA of 512 bits */
        { "-----BEGIN PUBLIC "
          "KEY-----\nMFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBALvoYGbo5nbTOtsNlY/YZUwMPZuTH1D+\n"
          "RFuT1rwxVU2i0ypz+xPLHlFRABMOYWx4n9eKrnHPVAWCEcyYg0CBLaMCAwEAAQ==\n-----END PUBLIC "
          "KEY-----\n",
          "" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct problems problems = { 0 };
        assert_null(jwt_rules_parse(&plain, span_str(bad[i].text), &problems));
        assert_int_equal(problems.errors, 1);
        assert_non_null(strstr(problems.list[0].text, bad[i].why));
        problems_done(&problems);
    }
    /* a curve that ES256 is not of */
    struct key key = { .kind = ES256, .pair = EVP_EC_gen("P-384") };
    BIO *out = BIO_new(BIO_s_mem());
    struct problems problems = { 0 };
    assert_int_equal(PEM_write_bio_PUBKEY(out, key.pair), 1);
    key.text[BIO_read(out, key.text, sizeof key.text - 1)] = '\0';
    assert_null(jwt_rules_parse(&plain, span_str(key.text), &problems));
    assert_non_null(strstr(problems.list[0].text, "not of the curve P-256"));
    problems_done(&problems);
    BIO_free(out);
    EVP_PKEY_free(key.pair);
}

/* ---- claims ---- */

struct said {
    const char *body, *why; /* NULL: it is good */
};

static void check_all(const struct jwt_settings *settings, const struct said *said, size_t count)
{
    struct key key = make_key(HS256);
    struct jwt_rules *rules = rules_of(settings, key.text);
    for (size_t i = 0; i < count; i++) {
        struct jwt_claims claims;
        const char *why = jwt_verify(rules, span_str(token(&key, said[i].body)), NOW, &claims);
        if (!why)
            jwt_claims_done(&claims);
        if (!why != !said[i].why || (why && !strstr(why, said[i].why)))
            fail_msg("%s: %s", said[i].body, why ? why : "accepted");
    }
    jwt_rules_unref(rules);
}

#define COUNT(array) (sizeof(array) / sizeof *(array))

static void test_claims_dates_are_obeyed(void **state)
{
    static const struct said said[] = {
        { "{\"sub\":\"a\",\"exp\":1700000000}", "has expired" },
        { "{\"sub\":\"a\",\"exp\":1700000000.001}", NULL },
        { "{\"sub\":\"a\",\"exp\":1699999999}", "has expired" },
        { "{\"sub\":\"a\"}", "no date of expiry" },
        { "{\"sub\":\"a\",\"exp\":\"1800000000\"}", "no date of expiry" },
        { "{\"sub\":\"a\",\"exp\":null}", "no date of expiry" },
        { "{\"sub\":\"a\",\"exp\":-1}", "no date of expiry" },
        { "{\"sub\":\"a\",\"exp\":1e300}", "no date of expiry" },
        { "{\"sub\":\"a\",\"exp\":99999999999999999999}", "does not say anything" },
        { "{\"sub\":\"a\",\"exp\":1800000000,\"nbf\":1700000000}", NULL },
        { "{\"sub\":\"a\",\"exp\":1800000000,\"nbf\":1700000001}", "not valid yet" },
        { "{\"sub\":\"a\",\"exp\":1800000000,\"nbf\":\"now\"}", "begins at no date" },
    };
    static const struct jwt_settings lenient = { .keyfile = "key",
                                                 .username_claim = "sub",
                                                 .leeway = 60 };
    static const struct said with_leeway[] = {
        { "{\"sub\":\"a\",\"exp\":1699999941,\"nbf\":1700000060}", NULL },
        { "{\"sub\":\"a\",\"exp\":1699999940}", "has expired" },
        { "{\"sub\":\"a\",\"exp\":1800000000,\"nbf\":1700000061}", "not valid yet" },
    };
    (void)state;
    check_all(&plain, said, COUNT(said));
    check_all(&lenient, with_leeway, COUNT(with_leeway));
}

static void test_claims_issuer_and_audience_are_obeyed(void **state)
{
    static const struct jwt_settings strict = {
        .keyfile = "key", .username_claim = "sub", .issuer = "us", .audience = "broker"
    };
#define WITH(more) "{\"sub\":\"a\",\"exp\":1800000000" more "}"
    static const struct said said[] = {
        { WITH(",\"iss\":\"us\",\"aud\":\"broker\""), NULL },
        { WITH(",\"iss\":\"us\",\"aud\":[\"x\",\"broker\"]"), NULL },
        { WITH(",\"aud\":\"broker\""), "another issuer" },
        { WITH(",\"iss\":\"us2\",\"aud\":\"broker\""), "another issuer" },
        { WITH(",\"iss\":[\"us\"],\"aud\":\"broker\""), "another issuer" },
        { WITH(",\"iss\":\"us\""), "another audience" },
        { WITH(",\"iss\":\"us\",\"aud\":\"Broker\""), "another audience" },
        { WITH(",\"iss\":\"us\",\"aud\":[]"), "another audience" },
        { WITH(",\"iss\":\"us\",\"aud\":[1,\"x\"]"), "another audience" },
        { WITH(",\"iss\":\"us\",\"aud\":{\"broker\":1}"), "another audience" },
    };
    (void)state;
    check_all(&strict, said, COUNT(said));
}

static void test_claims_user_name_must_be_one(void **state)
{
    static const struct said said[] = {
        { "{\"exp\":1800000000}", "names no user" },
        { "{\"exp\":1800000000,\"sub\":\"\"}", "names no user" },
        { "{\"exp\":1800000000,\"sub\":7}", "names no user" },
        { "{\"exp\":1800000000,\"sub\":\"a\\u0000b\"}", "does not say anything" },
        { "{\"exp\":1800000000,\"sub\":\"a\",\"sub\":\"b\"}", "does not say anything" },
        { "{\"exp\":1800000000,\"sub\":\"\xff\"}", "does not say anything" },
        { "{\"exp\":1800000000,\"sub\":\"a\"} {}", "does not say anything" },
        { "[]", "does not say anything" },
        { "", "does not say anything" },
    };
    static const struct jwt_settings named = { .keyfile = "key", .username_claim = "client" };
    static const struct said other[] = {
        { "{\"exp\":1800000000,\"sub\":\"a\",\"client\":\"b\"}", NULL },
        { "{\"exp\":1800000000,\"sub\":\"a\"}", "names no user" },
    };
    (void)state;
    check_all(&plain, said, COUNT(said));
    check_all(&named, other, COUNT(other));
}

static void test_claims_topics_are_read(void **state)
{
    static const struct jwt_settings with_acl = { .keyfile = "key",
                                                  .username_claim = "sub",
                                                  .acl_claim = "acl" };
    static const struct said bad[] = {
        { WITH(",\"acl\":[]"), "not an object of lists" },
        { WITH(",\"acl\":{\"pub\":\"a\"}"), "not an object of lists" },
        { WITH(",\"acl\":{\"pub\":[\"a#\"]}"), "no topic filter" },
        { WITH(",\"acl\":{\"pub\":[\"a\",\"\"]}"), "no topic filter" },
        { WITH(",\"acl\":{\"sub\":[7]}"), "no topic filter" },
        { WITH(",\"acl\":{\"sub\":[\"$share/g/a\"]}"), "no topic filter" },
    };
    struct key key = make_key(HS256);
    struct jwt_rules *rules = rules_of(&with_acl, key.text);
    struct jwt_claims claims;
    (void)state;
    check_all(&with_acl, bad, COUNT(bad));
    assert_null(jwt_verify(
        rules,
        span_str(token(&key,
                       WITH(",\"acl\":{\"pub\":[\"a/#\",\"b\"],\"sub\":[\"+\"],\"all\":[\"c\"]}"))),
        NOW, &claims));
    static const unsigned access[] = { JWT_PUBLISH, JWT_PUBLISH, JWT_SUBSCRIBE,
                                       JWT_PUBLISH | JWT_SUBSCRIBE };
    static const char *const filters[] = { "a/#", "b", "+", "c" };
    assert_true(claims.has_filters);
    assert_int_equal(claims.filter_count, 4);
    for (size_t i = 0; i < 4; i++) {
        assert_string_equal(claims.filters[i].filter, filters[i]);
        assert_int_equal(claims.filters[i].access, access[i]);
    }
    jwt_claims_done(&claims);
    assert_null(jwt_verify(rules, span_str(token(&key, WITH(",\"acl\":{}"))), NOW, &claims));
    assert_true(claims.has_filters && claims.filter_count == 0); /* nothing is allowed */
    jwt_claims_done(&claims);
    assert_null(jwt_verify(rules, span_str(token(&key, WITH(""))), NOW, &claims));
    assert_false(claims.has_filters);
    jwt_claims_done(&claims);
    jwt_rules_unref(rules);
}

/* ---- what it is ---- */

static void test_password_that_is_meant_as_a_token_is_told_from_others(void **state)
{
    struct key key = make_key(HS256);
    (void)state;
    assert_true(jwt_looks_like(span_str(token(&key, GOOD))));
    assert_false(jwt_looks_like(span_str("eyJ.b")));
    assert_false(jwt_looks_like(span_str("eyJ.b.c.d")));
    assert_false(jwt_looks_like(span_str("a.b.c")));
    assert_false(jwt_looks_like((struct span){ 0 }));
}

static void test_rules_know_the_keys_that_tokens_were_signed_with(void **state)
{
    struct key old = make_key(ES256), new = make_key(EDDSA);
    char text[2 * sizeof old.text];
    struct jwt_claims claims;
    (void)state;
    snprintf(text, sizeof text, "%s%s", old.text, new.text);
    struct jwt_rules *before = rules_of(&plain, old.text), *both = rules_of(&plain, text),
                     *after = rules_of(&plain, new.text);
    assert_null(jwt_verify(before, span_str(token(&old, GOOD)), NOW, &claims));
    assert_true(jwt_rules_have_key(before, claims.key));
    assert_true(jwt_rules_have_key(both, claims.key));
    assert_false(jwt_rules_have_key(after, claims.key));
    assert_false(jwt_rules_have_key(NULL, claims.key));
    jwt_claims_done(&claims);
    jwt_rules_unref(before);
    jwt_rules_unref(both);
    jwt_rules_unref(after);
    EVP_PKEY_free(old.pair);
    EVP_PKEY_free(new.pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_token_of_the_rfc_is_verified),
        cmocka_unit_test(test_token_signed_with_each_kind_of_key_is_verified_with_that_one_alone),
        cmocka_unit_test(test_token_that_is_changed_anywhere_is_refused),
        cmocka_unit_test(test_token_does_not_choose_its_algorithm),
        cmocka_unit_test(test_several_keys_in_one_file_are_all_good),
        cmocka_unit_test(test_key_that_is_none_is_named),
        cmocka_unit_test(test_claims_dates_are_obeyed),
        cmocka_unit_test(test_claims_issuer_and_audience_are_obeyed),
        cmocka_unit_test(test_claims_user_name_must_be_one),
        cmocka_unit_test(test_claims_topics_are_read),
        cmocka_unit_test(test_password_that_is_meant_as_a_token_is_told_from_others),
        cmocka_unit_test(test_rules_know_the_keys_that_tokens_were_signed_with),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
