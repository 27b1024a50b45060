/* SPDX-License-Identifier: MIT */
/*
 * What the operator is told about a listener's TLS files and settings. The certificates are made
 * here, so that none in the tree can expire.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <unistd.h>

#include <cmocka.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "broker/config.h"
#include "transport/tls.h"

struct files {
    char folder[64], certificate[96], key[96], other_key[96], locked_key[96], empty[96];
    struct listener_config config;
    char why[TLS_WHY_MAX];
};

static void write_key(const char *path, EVP_PKEY *key, const char *passphrase)
{
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    assert_int_equal(PEM_write_PrivateKey(file, key, passphrase ? EVP_aes_128_cbc() : NULL,
                                          (const unsigned char *)passphrase,
                                          passphrase ? (int)strlen(passphrase) : 0, NULL, NULL),
                     1);
    fclose(file);
}

static void write_certificate(const char *path, EVP_PKEY *key)
{
    X509 *certificate = X509_new();
    X509_NAME *name = X509_get_subject_name(certificate);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
    X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"test", -1, -1, 0);
    X509_set_issuer_name(certificate, name);
    X509_set_pubkey(certificate, key);
    assert_true(X509_sign(certificate, key, EVP_sha256()) > 0);
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    assert_int_equal(PEM_write_X509(file, certificate), 1);
    fclose(file);
    X509_free(certificate);
}

static int setup(void **state)
{
    struct files *files = calloc(1, sizeof *files);
    snprintf(files->folder, sizeof files->folder, "/tmp/noctule-test-XXXXXX");
    if (!mkdtemp(files->folder) || !tls_new_ticket_keys())
        return -1;
    snprintf(files->certificate, sizeof files->certificate, "%s/cert.pem", files->folder);
    snprintf(files->key, sizeof files->key, "%s/key.pem", files->folder);
    snprintf(files->other_key, sizeof files->other_key, "%s/other.pem", files->folder);
    snprintf(files->locked_key, sizeof files->locked_key, "%s/locked.pem", files->folder);
    snprintf(files->empty, sizeof files->empty, "%s/empty.pem", files->folder);
    EVP_PKEY *key = EVP_EC_gen("P-256"), *other = EVP_EC_gen("P-256");
    write_key(files->key, key, NULL);
    write_key(files->locked_key, key, "secret");
    write_key(files->other_key, other, NULL);
    write_certificate(files->certificate, key);
    fclose(fopen(files->empty, "we"));
    EVP_PKEY_free(key);
    EVP_PKEY_free(other);
    files->config.certfile = files->certificate;
    files->config.keyfile = files->key;
    *state = files;
    return 0;
}

static int teardown(void **state)
{
    struct files *files = *state;
    unlink(files->certificate);
    unlink(files->key);
    unlink(files->other_key);
    unlink(files->locked_key);
    unlink(files->empty);
    rmdir(files->folder);
    free(files);
    return 0;
}

static enum err check(struct files *files)
{
    struct tls_material *material = NULL;
    enum err err = tls_material_load(&files->config, &material, files->why);
    tls_material_unref(material);
    return err;
}

static void expect_refusal(struct files *files, const char *option, const char *value)
{
    assert_int_equal(check(files), ERR_INVALID);
    assert_non_null(strstr(files->why, option));
    assert_non_null(strstr(files->why, value));
}

static void test_certificate_with_its_key_is_accepted(void **state)
{
    struct files *files = *state;
    assert_int_equal(check(files), ERR_OK);
    files->config.cafile = files->certificate;
    files->config.require_certificate = true;
    files->config.tls_version = TLS_1_3;
    assert_int_equal(check(files), ERR_OK);
}

static void test_file_without_certificate_is_named(void **state)
{
    struct files *files = *state;
    files->config.certfile = files->empty;
    expect_refusal(files, "certfile", files->empty);
}

static void test_missing_file_says_what_the_system_says(void **state)
{
    struct files *files = *state;
    unlink(files->certificate);
    expect_refusal(files, "certfile", "No such file");
}

static void test_key_of_another_certificate_is_named(void **state)
{
    struct files *files = *state;
    files->config.keyfile = files->other_key;
    expect_refusal(files, "keyfile", files->other_key);
}

/* And not asked for on the terminal, which would stop a broker that reloads. */
static void test_key_with_passphrase_is_refused(void **state)
{
    struct files *files = *state;
    files->config.keyfile = files->locked_key;
    expect_refusal(files, "keyfile", "without a passphrase");
}

static void test_file_without_authority_is_named(void **state)
{
    struct files *files = *state;
    files->config.cafile = files->empty;
    expect_refusal(files, "cafile", files->empty);
}

static void test_unknown_ciphers_are_named(void **state)
{
    struct files *files = *state;
    char none[] = "NO-SUCH-CIPHER";
    files->config.ciphers = none;
    expect_refusal(files, "ciphers", none);
    files->config.ciphers = NULL;
    files->config.ciphers_tls13 = none;
    expect_refusal(files, "ciphers_tls1.3", none);
}

/* ---- material -------------------------------------------------------------------------------- */

static struct tls_material *material_of(struct files *files)
{
    struct tls_material *material = NULL;
    assert_int_equal(tls_material_load(&files->config, &material, files->why), ERR_OK);
    return material;
}

/* As a loop makes it. */
static SSL_CTX *context_of(struct files *files, struct tls_material *material)
{
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    struct tls_vhost vhost = { .listener = &files->config, .material = material };
    assert_int_equal(tls_vhost_setup(context, &vhost), 0);
    assert_true(vhost.made);
    assert_int_equal(SSL_CTX_check_private_key(context), 1);
    return context;
}

static void test_material_outlives_its_files_and_serves_several_loops(void **state)
{
    struct files *files = *state;
    files->config.cafile = files->certificate;
    files->config.require_certificate = true;
    struct tls_material *material = material_of(files);
    unlink(files->certificate);
    unlink(files->key);
    SSL_CTX *one = context_of(files, material), *two = context_of(files, material);
    assert_int_equal(X509_cmp(SSL_CTX_get0_certificate(one), SSL_CTX_get0_certificate(two)), 0);
    assert_ptr_not_equal(SSL_CTX_get0_privatekey(one), SSL_CTX_get0_privatekey(two));
    assert_ptr_equal(SSL_CTX_get_cert_store(one), SSL_CTX_get_cert_store(two));
    assert_int_equal(sk_X509_NAME_num(SSL_CTX_get_client_CA_list(one)), 1);
    assert_int_equal(SSL_CTX_get_verify_mode(one),
                     SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT);
    tls_material_unref(material);
    SSL_CTX_free(one);
    SSL_CTX_free(two);
}

static void test_material_says_when_its_certificate_ends(void **state)
{
    struct files *files = *state;
    struct tls_material *material = material_of(files);
    uint64_t now = (uint64_t)time(NULL) * 1000;
    assert_in_range(tls_material_expires(material), now + 3500 * 1000, now + 3601 * 1000);
    tls_material_unref(material);
}

static void test_state_of_the_files_changes_with_them(void **state)
{
    struct files *files = *state;
    uint64_t before = tls_files_state(&files->config);
    assert_int_equal(tls_files_state(&files->config), before);
    EVP_PKEY *key = EVP_EC_gen("P-256");
    char fresh[128];
    snprintf(fresh, sizeof fresh, "%s.new", files->key);
    write_key(fresh, key, NULL);
    assert_int_equal(rename(fresh, files->key), 0);
    uint64_t after = tls_files_state(&files->config);
    assert_int_not_equal(after, before);
    files->config.crlfile = files->empty;
    assert_int_not_equal(tls_files_state(&files->config), after);
    EVP_PKEY_free(key);
}

static void test_file_without_a_revocation_list_is_named(void **state)
{
    struct files *files = *state;
    files->config.crlfile = files->certificate;
    expect_refusal(files, "crlfile", files->certificate);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_certificate_with_its_key_is_accepted, setup, teardown),
        cmocka_unit_test_setup_teardown(test_file_without_certificate_is_named, setup, teardown),
        cmocka_unit_test_setup_teardown(test_missing_file_says_what_the_system_says, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_key_of_another_certificate_is_named, setup, teardown),
        cmocka_unit_test_setup_teardown(test_key_with_passphrase_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_file_without_authority_is_named, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unknown_ciphers_are_named, setup, teardown),
        cmocka_unit_test_setup_teardown(test_material_outlives_its_files_and_serves_several_loops,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_material_says_when_its_certificate_ends, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_state_of_the_files_changes_with_them, setup, teardown),
        cmocka_unit_test_setup_teardown(test_file_without_a_revocation_list_is_named, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
