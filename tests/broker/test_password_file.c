/* SPDX-License-Identifier: MIT */
/*
 * Password files: who is in them, and what is wrong with them, line by line.
 */
#include "tests/broker/config_fixture.h"

#include "broker/auth/password_file.h"

#define HASH6                                                                                      \
    "$6$HGpkA7v2JFjt7961$ibheKrcoyyXRp6j0kVCjUkALm02Q6u2WXsbJq9kw+"                                \
    "WenI0QKn9Kwl0RO4RtUNUulgunGbCibQq+Vg4wknssdbw=="
#define HASH7                                                                                      \
    "$7$101$XjfkinC/Xgarr/gu$tme1H3a/IZhR0LR8zyRzC6pA/TO5TwLXsm3wUkaO4oU2+gOTGStl91/"              \
    "eMGgUfDd+WpAu31bwinR+jOuObYJnsw=="

static struct password_file *read_text(struct fixture *f, const char *text)
{
    problems_done(&f->problems);
    return password_file_parse(span_str(text), "pw", &f->problems);
}

static int kind_of(const struct password_file *file, const char *user)
{
    const struct password_hash *hash = password_file_find(file, span_str(user));
    return hash ? hash->kind : -1;
}

static void test_password_file_finds_who_is_in_it_and_nobody_else(void **state)
{
    struct fixture *f = *state;
    struct password_file *file = read_text(f, "# who may come\n\nalice:" HASH7 "\r\n"
                                              " bob smith : " HASH6 " \n"
                                              "\xc3\xa4:" HASH6);
    assert_non_null(file);
    assert_int_equal(f->problems.count, 0);
    assert_int_equal(kind_of(file, "alice"), PASSWORD_PBKDF2);
    assert_int_equal(kind_of(file, "bob smith"), PASSWORD_SHA512);
    assert_int_equal(kind_of(file, "\xc3\xa4"), PASSWORD_SHA512);
    assert_int_equal(kind_of(file, "Alice"), -1);
    assert_int_equal(kind_of(file, "alic"), -1);
    assert_int_equal(kind_of(file, ""), -1);
    assert_int_equal(kind_of(file, "# who may come"), -1);
    password_file_unref(file);
}

static void test_password_file_holds_many(void **state)
{
    enum { MANY = 5000 };
    struct fixture *f = *state;
    char *text = malloc(MANY * 160);
    size_t at = 0;
    for (int i = 0; i < MANY; i++)
        at += (size_t)snprintf(text + at, MANY * 160 - at, "user%d:%s\n", i, HASH7);
    struct password_file *file = read_text(f, text);
    assert_non_null(file);
    for (int i = 0; i < MANY; i++) {
        char user[16];
        snprintf(user, sizeof user, "user%d", i);
        assert_int_equal(kind_of(file, user), PASSWORD_PBKDF2);
    }
    assert_int_equal(kind_of(file, "user5000"), -1);
    password_file_unref(file);
    free(text);
}

static void test_password_file_decoy_is_always_the_same_for_the_same_user(void **state)
{
    struct fixture *f = *state;
    struct password_file *file = read_text(f, "a:" HASH7 "\nb:" HASH6 "\n");
    bool seen[2] = { false, false };
    for (int i = 0; i < 100; i++) {
        char user[16];
        snprintf(user, sizeof user, "nobody%d", i);
        const struct password_hash *decoy = password_file_decoy(file, span_str(user));
        assert_non_null(decoy);
        assert_ptr_equal(decoy, password_file_decoy(file, span_str(user)));
        seen[decoy->kind] = true;
    }
    assert_true(seen[PASSWORD_SHA512] && seen[PASSWORD_PBKDF2]);
    password_file_unref(file);
    file = read_text(f, "# nobody\n");
    assert_null(password_file_decoy(file, span_str("a")));
    assert_int_equal(kind_of(file, "a"), -1);
    password_file_unref(file);
}

static void test_password_file_unhashed_line_is_refused_with_the_cure(void **state)
{
    struct fixture *f = *state;
    assert_null(read_text(f, "a:" HASH7 "\nbob:secret\ncarol:\n"));
    assert_int_equal(f->problems.errors, 2);
    assert_string_equal(problem(f, 0), "pw:2: the password of \"bob\" is not hashed; to hash all "
                                       "of them, run: noctule passwd -U pw");
    assert_string_equal(problem(f, 1), "pw:3: the password of \"carol\" is not hashed; to hash all "
                                       "of them, run: noctule passwd -U pw");
}

static void test_password_file_names_what_is_wrong_in_every_line(void **state)
{
    struct fixture *f = *state;
    assert_null(read_text(f, "alice\n:" HASH7 "\n\x01:" HASH7 "\nbob:$7$x\nok:" HASH7 "\n\xff:x\n"
                             "c:$2y$10$x"));
    assert_int_equal(f->problems.errors, 6);
    assert_string_equal(problem(f, 0), "pw:1: a line must read user:password, the password as "
                                       "\"noctule passwd\" writes it");
    assert_string_equal(problem(f, 2), "pw:3: the user name is too long, or not printable UTF-8");
    assert_string_equal(problem(f, 3), "pw:4: the password of \"bob\" has no number of rounds "
                                       "from 1 to 10000000");
    assert_string_equal(problem(f, 5), "pw:7: the password of \"c\" is of a kind that is not known "
                                       "here; set it anew with: noctule passwd");
}

static void test_password_file_user_given_again_is_told_and_replaced(void **state)
{
    struct fixture *f = *state;
    struct password_file *file = read_text(f, "a:" HASH7 "\na:" HASH6 "\n");
    assert_non_null(file);
    assert_string_equal(problem(f, 0), "pw:2: warning: \"a\" is given again; this replaces line 1");
    assert_int_equal(kind_of(file, "a"), PASSWORD_SHA512);
    password_file_unref(file);
}

static void test_password_file_is_read_from_disk_and_its_mode_looked_at(void **state)
{
    struct fixture *f = *state;
    char path[PATH_SIZE];
    put(f, "pw", "a:" HASH7 "\n", path);
    assert_int_equal(chmod(path, 0640), 0);
    struct password_file *file = password_file_load(path, &f->problems);
    assert_non_null(file);
    assert_int_equal(f->problems.count, 0);
    password_file_unref(file);
    assert_int_equal(chmod(path, 0644), 0);
    file = password_file_load(path, &f->problems);
    assert_non_null(file);
    assert_int_equal(f->problems.count, 1);
    assert_non_null(strstr(problem(f, 0), "everybody on this machine can read"));
    password_file_unref(file);
    assert_null(password_file_load("/nowhere/pw", &f->problems));
    assert_string_equal(problem(f, 1), "/nowhere/pw: the password file cannot be read: "
                                       "No such file or directory");
    assert_null(password_file_load("/", &f->problems));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_password_file_finds_who_is_in_it_and_nobody_else),
        TEST(test_password_file_holds_many),
        TEST(test_password_file_decoy_is_always_the_same_for_the_same_user),
        TEST(test_password_file_unhashed_line_is_refused_with_the_cure),
        TEST(test_password_file_names_what_is_wrong_in_every_line),
        TEST(test_password_file_user_given_again_is_told_and_replaced),
        TEST(test_password_file_is_read_from_disk_and_its_mode_looked_at),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
