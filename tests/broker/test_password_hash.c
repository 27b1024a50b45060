/* SPDX-License-Identifier: MIT */
/*
 * Stored passwords of each kind: those of others are verified, and those made here are read back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "broker/auth/base64.h"
#include "broker/auth/password_hash.h"

static enum password_verdict verify(const char *stored, const char *password)
{
    struct password_hash hash;
    const char *why = password_hash_parse(span_str(stored), &hash);
    if (why)
        fail_msg("%s: %s", stored, why);
    return password_verify(&hash, span_str(password));
}

/* The first three were made by mosquitto_passwd 2.0, those of Argon2 are of the reference
 * implementation. */
static const struct {
    const char *stored, *password;
    size_t memory;
} known[] = {
    { "$7$101$XjfkinC/Xgarr/gu$tme1H3a/IZhR0LR8zyRzC6pA/TO5TwLXsm3wUkaO4oU2+gOTGStl91/eMGgUfDd+"
      "WpAu31bwinR+jOuObYJnsw==",
      "wonderland", 0 },
    { "$7$101$u9RuTdsXtuSQwZZ5$sCcLdhMQd5b3N63x3v2IinIGgS2EiOd1dMqZfCkGCRusN+3ujcka8UKZYLiypqHC4Pl+"
      "NXJmGQNhvDRztMVI3w==",
      "builder: yes", 0 },
    { "$6$HGpkA7v2JFjt7961$ibheKrcoyyXRp6j0kVCjUkALm02Q6u2WXsbJq9kw+WenI0QKn9Kwl0RO4RtUNUulgunGbCib"
      "Qq+Vg4wknssdbw==",
      "c#\xc3\xa4", 0 },
    { "PBKDF2$sha512$1000$x3RPLXFz3ateaMpJ$8F4T+QRUSr6/"
      "krmm0KtLlIh79n7xIgD0lS2tUpVkPxEObmxn35U5JuTput"
      "MwzgWITMs48TD7eiIOnmef5lNtpQ==",
      "home", 0 },
    /* RFC 7914, section 11 */
    { "PBKDF2$sha256$1$c2FsdA==$VawEblbjCJ/"
      "sFpHCJUS2BflBhSFt3gRl5oudV8INrLxJypzM8Xm2RZkWZLOdd+8xfHG4RbHjC9UJESBB06GXgw==",
      "passwd", 0 },
    { "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
      "password", 64 << 20 },
    { "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc",
      "password", 256 << 10 },
};

static void test_password_of_others_is_verified(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        struct password_hash hash;
        assert_int_equal(verify(known[i].stored, known[i].password), PASSWORD_RIGHT);
        assert_int_equal(verify(known[i].stored, "Password"), PASSWORD_WRONG);
        assert_int_equal(verify(known[i].stored, ""), PASSWORD_WRONG);
        assert_true(password_is_hashed(span_str(known[i].stored)));
        assert_null(password_hash_parse(span_str(known[i].stored), &hash));
        assert_int_equal(password_memory(&hash), known[i].memory);
    }
}

static void test_password_made_here_is_verified(void **state)
{
    static const uint8_t salt[PASSWORD_NEW_SALT] = { 1, 2, 3, 250, 0, 7 };
    (void)state;
    for (enum password_kind kind = PASSWORD_SHA512; kind <= PASSWORD_ARGON2ID; kind++) {
        char text[PASSWORD_TEXT_MAX];
        assert_int_equal(password_make(kind, 3, span_str("s3cret"), salt, text), ERR_OK);
        assert_int_equal(verify(text, "s3cret"), PASSWORD_RIGHT);
        assert_int_equal(verify(text, "s3cret "), PASSWORD_WRONG);
        assert_int_equal(password_make(kind, 3, (struct span){ 0 }, salt, text), ERR_OK);
        assert_int_equal(verify(text, ""), PASSWORD_RIGHT);
    }
}

static void test_password_usual_cost_is_not_small(void **state)
{
    static const uint8_t salt[PASSWORD_NEW_SALT];
    char text[PASSWORD_TEXT_MAX];
    (void)state;
    assert_int_equal(password_make(PASSWORD_ARGON2ID, 0, span_str("x"), salt, text), ERR_OK);
    assert_memory_equal(text, "$argon2id$v=19$m=19456,t=2,p=1$", 31);
    assert_int_equal(password_make(PASSWORD_PBKDF2, 0, span_str("x"), salt, text), ERR_OK);
    assert_memory_equal(text, "$7$210000$", 10);
}

#define DIGEST64                                                                                   \
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

static void test_password_that_is_malformed_or_too_expensive_is_named(void **state)
{
    static const struct {
        const char *stored, *why;
    } bad[] = {
        { "$7$$c2FsdA==$" DIGEST64 "==", "has no number of rounds" },
        { "$7$0$c2FsdA==$" DIGEST64 "==", "has no number of rounds" },
        { "$7$10000001$c2FsdA==$" DIGEST64 "==", "has no number of rounds" },
        { "$7$99999999999999999999$c2FsdA==$" DIGEST64 "==", "has no number of rounds" },
        { "$7$-1$c2FsdA==$" DIGEST64 "==", "has no number of rounds" },
        { "$7$101", "has no number of rounds" },
        { "$7$101$", "has a salt" },
        { "$7$101$$" DIGEST64 "==", "has a salt" },
        { "$7$101$c2FsdA=$" DIGEST64 "==", "has a salt" },
        { "$7$101$c2 sdA==$" DIGEST64 "==", "has a salt" },
        { "$7$101$c2FsdA==$", "has a digest" },
        { "$7$101$c2FsdA==$c2FsdA==", "has a digest" },
        { "$7$101$c2FsdA==$" DIGEST64 "==$", "has a digest" },
        { "$7$101$c2FsdA==$" DIGEST64 "AAAAA=", "has a digest" },
        { "$6$c2FsdA==$c2FsdHNhbHRzYWx0c2FsdA==", "not one of SHA-512" },
        /* crypt(3) writes SHA-512 so as well, and means something else */
        { "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjlO/"
          "O817G3uBnIFNjnQJuesI68OTLiBFdcbYEdFCoEO"
          "faS35inz1",
          "has a salt" },
        { "$argon2id$v=19$m=1048577,t=1,p=1$c29tZXNhbHQ$" DIGEST64, "more memory than 1 GiB" },
        { "$argon2id$v=19$m=256,t=1001,p=1$c29tZXNhbHQ$" DIGEST64, "more than 1000 rounds" },
        { "$argon2id$v=19$m=256,t=0,p=1$c29tZXNhbHQ$" DIGEST64, "more than 1000 rounds" },
        { "$argon2id$v=19$m=65536,t=1,p=65$c29tZXNhbHQ$" DIGEST64, "more than 64 lanes" },
        { "$argon2id$v=19$m=8,t=1,p=2$c29tZXNhbHQ$" DIGEST64, "less memory than 8 KiB" },
        { "$argon2id$v=19$m=256,t=1,p=1$c2FsdA$" DIGEST64, "salt that is too short" },
        { "$argon2id$v=19$m=256,t=1$c29tZXNhbHQ$" DIGEST64, "does not read" },
        { "$argon2id$v=19$", "does not read" },
        { "$argon2i$v=19$m=256,t=1,p=1$c29tZXNhbHQ$" DIGEST64, "is of a kind" },
        { "$2y$10$abc", "is of a kind" },
        { "PBKDF2$sha1$1$c2FsdA==$" DIGEST64 "==", "is of a kind" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct password_hash hash;
        const char *why = password_hash_parse(span_str(bad[i].stored), &hash);
        if (!why || !strstr(why, bad[i].why))
            fail_msg("%s: %s", bad[i].stored, why ? why : "accepted");
        assert_true(password_is_hashed(span_str(bad[i].stored)));
    }
    assert_false(password_is_hashed(span_str("secret")));
    assert_false(password_is_hashed(span_str("")));
    assert_false(password_is_hashed(span_str("$8$x")));
}

static void test_password_cut_off_anywhere_is_no_password(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        struct password_hash hash;
        size_t digest = (size_t)(strrchr(known[i].stored, '$') - known[i].stored);
        for (size_t len = 0; len < digest + 22; len++) /* less than 16 bytes are no digest */
            assert_non_null(password_hash_parse(span_of(known[i].stored, len), &hash));
    }
}

static void test_base64_is_what_the_rfc_says(void **state)
{ /* RFC 4648, section 10 */
    static const char *const texts[] = { "",         "Zg==",     "Zm8=",     "Zm9v",
                                         "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy", NULL };
    uint8_t bytes[8];
    char text[16];
    size_t len;
    (void)state;
    for (size_t i = 0; texts[i]; i++) {
        assert_true(base64_decode(BASE64_PADDED, span_str(texts[i]), bytes, 6, &len));
        assert_int_equal(len, i);
        assert_memory_equal(bytes, "foobar", i);
        base64_encode(BASE64_PADDED, span_of("foobar", i), text);
        assert_string_equal(text, texts[i]);
    }
    assert_true(base64_decode(BASE64_URL, span_str("-_8"), bytes, 8, &len));
    assert_memory_equal(bytes, "\xfb\xff", 2);
    base64_encode(BASE64_URL, span_of("\xfb\xff", 2), text);
    assert_string_equal(text, "-_8");
}

static void test_base64_has_one_spelling(void **state)
{
    static const char *const padded[] = { "Zg",       "Zg=",  "Zg===", "Zh==", "Zm9=", "Z",
                                          "Zm9v\n\n", "-_8=", "=",     "====", "Z===", "Zg==Zg==" };
    static const char *const url[] = { "Zg==", "Zh", "Zm9", "Z", "+/8", "Zm9v Zm9" };
    uint8_t bytes[16];
    size_t len;
    (void)state;
    for (size_t i = 0; i < sizeof padded / sizeof *padded; i++)
        assert_false(base64_decode(BASE64_PADDED, span_str(padded[i]), bytes, 16, &len));
    for (size_t i = 0; i < sizeof url / sizeof *url; i++)
        assert_false(base64_decode(BASE64_URL, span_str(url[i]), bytes, 16, &len));
    assert_false(base64_decode(BASE64_URL, span_str("Zm9vYmFy"), bytes, 5, &len));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_password_of_others_is_verified),
        cmocka_unit_test(test_password_made_here_is_verified),
        cmocka_unit_test(test_password_usual_cost_is_not_small),
        cmocka_unit_test(test_password_that_is_malformed_or_too_expensive_is_named),
        cmocka_unit_test(test_password_cut_off_anywhere_is_no_password),
        cmocka_unit_test(test_base64_is_what_the_rfc_says),
        cmocka_unit_test(test_base64_has_one_spelling),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
