/* SPDX-License-Identifier: MIT */
/*
 * Rules: what a file means for one topic and for a whole filter. Beside the cases that people write
 * stands a slow model, which reads the rules as the manual of mosquitto tells them and is asked
 * about every topic of a small world; what is said about a filter must be true for all of them.
 */
#include "broker/auth/acl.h"
#include "broker/auth/acl_file.h"
#include "broker/problems.h"
#include "mqtt/topic.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- files that are right ---- */

static struct acl *rules(const char *text)
{
    struct problems problems = { 0 };
    struct acl *acl = acl_file_parse(text, strlen(text), "acl", &problems);
    if (problems.errors)
        problems_print(&problems, stderr);
    assert_non_null(acl);
    problems_done(&problems);
    return acl;
}

static struct acl_client client(const char *user, const char *client_id)
{
    return (struct acl_client){ .user = user ? span_str(user) : (struct span){ 0 },
                                .client_id = span_str(client_id) };
}

/* What the client "id" of this user (NULL: none) may do, as "rw", "r-", "-w" or "--". */
static const char *may(const struct acl *acl, const char *user, const char *topic)
{
    static const char *const words[] = { "--", "r-", "-w", "rw" };
    struct acl_client who = client(user, "id");
    return words[acl_allows(acl, &who, ACL_READ, span_str(topic)) +
                 2 * acl_allows(acl, &who, ACL_WRITE, span_str(topic))];
}

static void test_without_rules_everything_is_allowed(void **state)
{
    (void)state;
    assert_string_equal(may(NULL, NULL, "a"), "rw");
    struct acl_client who = client(NULL, "id");
    assert_int_equal(acl_allows_filter(NULL, &who, ACL_READ, span_str("#")), ACL_EVERYTHING);
}

static void test_an_empty_file_allows_nothing(void **state)
{
    (void)state;
    struct acl *acl = rules("# nothing\n\n");
    assert_string_equal(may(acl, NULL, "a"), "--");
    assert_string_equal(may(acl, "u", "a"), "--");
    acl_unref(acl);
}

static void test_each_word_gives_its_access(void **state)
{
    (void)state;
    struct acl *acl = rules("topic read r\ntopic write w\ntopic readwrite rw\ntopic both\n"
                            "topic deny both/not\n  topic   read   with blanks  in it \r\n"
                            "\ttopic\tread\ttabs\n# topic comment\n");
    assert_string_equal(may(acl, NULL, "r"), "r-");
    assert_string_equal(may(acl, NULL, "w"), "-w");
    assert_string_equal(may(acl, NULL, "rw"), "rw");
    assert_string_equal(may(acl, NULL, "both"), "rw");
    assert_string_equal(may(acl, NULL, "both/not"), "--");
    assert_string_equal(may(acl, NULL, "with blanks  in it"), "r-");
    assert_string_equal(may(acl, NULL, "tabs"), "r-");
    assert_string_equal(may(acl, NULL, "comment"), "--");
    acl_unref(acl);
}

static void test_users_have_their_own_rules_and_no_others(void **state)
{
    (void)state;
    struct acl *acl = rules("topic anybody\nuser ann\ntopic a/#\nuser name with blanks \n"
                            "topic b\nuser ann\ntopic read c\n");
    assert_string_equal(may(acl, NULL, "anybody"), "rw");
    assert_string_equal(may(acl, "ann", "anybody"),
                        "--"); /* that part is for those without a name */
    assert_string_equal(may(acl, "ann", "a/x"), "rw");
    assert_string_equal(may(acl, "ann", "c"), "r-"); /* a second part adds up */
    assert_string_equal(may(acl, "name with blanks", "b"), "rw");
    assert_string_equal(may(acl, "bob", "a/x"), "--");
    assert_string_equal(may(acl, "", "anybody"), "--"); /* an empty name is a name */
    acl_unref(acl);
}

static void test_deny_wins_over_what_stands_before_and_after(void **state)
{
    (void)state;
    struct acl *acl = rules("topic a/#\ntopic deny a/secret/#\ntopic readwrite a/secret/but\n");
    assert_string_equal(may(acl, NULL, "a/x"), "rw");
    assert_string_equal(may(acl, NULL, "a/secret/x"), "--");
    assert_string_equal(may(acl, NULL, "a/secret"), "--");
    assert_string_equal(may(acl, NULL, "a/secret/but"), "--");
    acl_unref(acl);
}

static void test_patterns_hold_for_everybody_after_the_own_rules(void **state)
{
    (void)state;
    struct acl *acl = rules("topic deny id/anonymous\nuser ann\ntopic u/ann/secret\n"
                            "pattern readwrite u/%u/#\npattern deny u/%u/secret\n"
                            "pattern write %c/#\npattern read everybody\n");
    assert_string_equal(may(acl, "ann", "u/ann/x"), "rw");
    assert_string_equal(may(acl, "ann", "u/bob/x"), "--");
    assert_string_equal(may(acl, "bob", "u/bob/x"), "rw");
    assert_string_equal(may(acl, "bob", "u/bob/secret"), "--");
    assert_string_equal(may(acl, "ann", "u/ann/secret"), "rw"); /* an own rule comes first */
    assert_string_equal(may(acl, "bob", "id/x"), "-w");
    assert_string_equal(may(acl, NULL, "id/x"), "-w");
    assert_string_equal(may(acl, NULL, "id/anonymous"), "--");
    assert_string_equal(may(acl, NULL, "u//x"), "--"); /* no name, so no rule with %u */
    assert_string_equal(may(acl, "", "u//x"), "rw");
    assert_string_equal(may(acl, NULL, "everybody"), "r-");
    acl_unref(acl);
}

static void test_a_name_stands_anywhere_in_a_level_and_may_have_several(void **state)
{
    (void)state;
    struct acl *acl = rules("pattern a-%u-%c-%u/x\npattern deep/%u\npattern %%u\npattern 100%\n");
    assert_string_equal(may(acl, "n", "a-n-id-n/x"), "rw");
    assert_string_equal(may(acl, "n", "a-n-id-n"), "--");
    assert_string_equal(may(acl, "x/y", "deep/x/y"), "rw");
    assert_string_equal(may(acl, "x/y", "deep/x"), "--");
    assert_string_equal(may(acl, "n", "%n"), "rw");
    assert_string_equal(may(acl, "n", "100%"), "rw");
    acl_unref(acl);
}

static void test_a_name_with_a_wildcard_matches_no_pattern(void **state)
{
    (void)state;
    struct acl *acl = rules("user +\ntopic own\npattern u/%u\npattern c/%c\npattern all\n");
    assert_string_equal(may(acl, "+", "u/x"), "--");
    assert_string_equal(may(acl, "#", "u/x"), "--");
    assert_string_equal(may(acl, "#", "all"), "--");
    assert_string_equal(may(acl, "+", "own"), "rw");
    struct acl_client who = client("ann", "a/#");
    assert_false(acl_allows(acl, &who, ACL_READ, span_str("c/a/b")));
    assert_false(acl_allows(acl, &who, ACL_READ, span_str("all")));
    acl_unref(acl);
}

static void test_wildcards_do_not_reach_topics_that_begin_with_a_dollar(void **state)
{
    (void)state;
    struct acl *acl = rules("topic #\ntopic +/broker/x\nuser sys\ntopic read $SYS/#\n");
    assert_string_equal(may(acl, NULL, "$SYS/broker/x"), "--");
    assert_string_equal(may(acl, "sys", "$SYS/broker/x"), "r-");
    assert_string_equal(may(acl, "sys", "a"), "--");
    acl_unref(acl);
}

static void test_many_rules_say_the_same_as_few(void **state)
{
    char text[8192];
    int len = 0;
    (void)state;
    for (int i = 0; i < 200; i++)
        len += snprintf(text + len, sizeof text - (size_t)len, "topic %s a/%d/#\n",
                        i % 3   ? "read"
                        : i % 2 ? "deny"
                                : "write",
                        i);
    (void)snprintf(text + len, sizeof text - (size_t)len, "topic +/+/x\ntopic deny a/1/+/no\n");
    struct acl *acl = rules(text);
    assert_string_equal(may(acl, NULL, "a/1/y"), "r-");
    assert_string_equal(may(acl, NULL, "a/1/x"), "rw");
    assert_string_equal(may(acl, NULL, "a/3/x"), "--");
    assert_string_equal(may(acl, NULL, "a/6/y"), "-w");
    assert_string_equal(may(acl, NULL, "a/1/y/no"), "--");
    assert_string_equal(may(acl, NULL, "b"), "--");
    struct acl_client who = client(NULL, "id");
    struct acl_refusal why;
    assert_false(acl_allows_or_why(acl, &who, ACL_READ, span_str("a/3/x"), &why));
    assert_int_equal(why.line, 4);
    acl_unref(acl);
}

static void test_a_refusal_names_its_rule(void **state)
{
    (void)state;
    struct acl *acl = rules("topic a/#\ntopic deny a/secret/#\n");
    struct acl_client who = client(NULL, "id");
    struct acl_refusal why;
    assert_true(acl_allows_or_why(acl, &who, ACL_READ, span_str("a/x"), &why));
    assert_false(acl_allows_or_why(acl, &who, ACL_READ, span_str("a/secret/x"), &why));
    assert_string_equal(why.name, "acl");
    assert_int_equal(why.line, 2);
    assert_true(span_equal(why.filter, span_str("a/secret/#")));
    assert_false(acl_allows_or_why(acl, &who, ACL_READ, span_str("b"), &why));
    assert_int_equal(why.line, 0);
    acl_unref(acl);
}

static void test_the_same_text_is_the_same_set(void **state)
{
    (void)state;
    struct acl *a = rules("topic a\n"), *b = rules("topic a\n"), *c = rules("topic b\n");
    assert_true(acl_same(a, b));
    assert_false(acl_same(a, c));
    assert_false(acl_same(a, NULL));
    assert_true(acl_same(NULL, NULL));
    acl_unref(acl_ref(a));
    acl_unref(a), acl_unref(b), acl_unref(c);
    acl_unref(NULL);
}

/* ---- filters ---- */

static enum acl_verdict verdict(const char *text, const char *user, const char *filter)
{
    struct acl *acl = rules(text);
    struct acl_client who = client(user, "id");
    enum acl_verdict verdict = acl_allows_filter(acl, &who, ACL_READ, span_str(filter));
    acl_unref(acl);
    return verdict;
}

static void test_a_filter_is_decided_as_a_whole_where_that_is_certain(void **state)
{
    (void)state;
    assert_int_equal(verdict("topic read a/#", NULL, "a/#"), ACL_EVERYTHING);
    assert_int_equal(verdict("topic read a/#", NULL, "a/+/b"), ACL_EVERYTHING);
    assert_int_equal(verdict("topic read a/#", NULL, "a"), ACL_EVERYTHING);
    assert_int_equal(verdict("topic read a/#", NULL, "#"), ACL_SOME);
    assert_int_equal(verdict("topic read a/#", NULL, "+"), ACL_SOME); /* "a" itself */
    assert_int_equal(verdict("topic read a/b", NULL, "+"), ACL_NOTHING);
    assert_int_equal(verdict("topic write a/#", NULL, "a/#"), ACL_NOTHING);
    assert_int_equal(verdict("topic a/#\ntopic deny a/b", NULL, "a/#"), ACL_SOME);
    assert_int_equal(verdict("topic a/#\ntopic deny a/b", NULL, "a/+/c"), ACL_EVERYTHING);
    assert_int_equal(verdict("topic a/#\ntopic deny a/b/#", NULL, "a/b/+"), ACL_NOTHING);
    assert_int_equal(verdict("topic #", NULL, "$SYS/#"), ACL_NOTHING);
    assert_int_equal(verdict("topic #", NULL, "#"), ACL_EVERYTHING);
    assert_int_equal(verdict("topic #\ntopic deny $SYS/#", NULL, "#"), ACL_EVERYTHING);
    assert_int_equal(verdict("pattern u/%u/#", "ann", "u/ann/+"), ACL_EVERYTHING);
    assert_int_equal(verdict("pattern u/%u/#", "ann", "u/bob/+"), ACL_NOTHING);
    assert_int_equal(verdict("pattern u/%u/#", "ann", "u/+/x"), ACL_SOME);
    assert_int_equal(verdict("pattern u/%u/#", "a/b", "u/a/b/+"), ACL_EVERYTHING);
    assert_int_equal(verdict("pattern deny x\nuser ann\ntopic #", "ann", "#"), ACL_EVERYTHING);
}

/* ---- the model ---- */

enum { LEVELS = 3, FILTERS = 400, TOPICS = 400, REPEATED = 6 };

static uint64_t chance = 88172645463325252u;

static unsigned pick(unsigned below)
{
    chance ^= chance << 13;
    chance ^= chance >> 7;
    chance ^= chance << 17;
    return (unsigned)(chance >> 33) % below;
}

static char topics[TOPICS][16], filters[FILTERS][16];
static unsigned topic_count, filter_count;

/* All valid texts of up to LEVELS levels, each one of the words. */
static unsigned spell(char texts[][16], const char *const *words, unsigned word_count,
                      bool (*valid)(struct span text))
{
    unsigned count = 0, combinations = word_count;
    for (unsigned levels = 1; levels <= LEVELS; levels++, combinations *= word_count)
        for (unsigned code = 0; code < combinations; code++) {
            char text[16] = "";
            for (unsigned level = 0, rest = code; level < levels; level++, rest /= word_count) {
                strncat(text, level ? "/" : "", 2);
                strncat(text, words[rest % word_count], 4);
            }
            if (valid(span_str(text)))
                memcpy(texts[count++], text, sizeof text);
        }
    return count;
}

struct model_rule {
    int user; /* 0: of nobody in particular (pattern), 1: no name, 2: ann */
    unsigned access;
    char filter[16];
};

/* One part of the rules, as the manual tells it; whether it decides at all. */
static bool model_decides(const struct model_rule *list, unsigned count, int user, unsigned access,
                          const char *topic, bool *ret_allowed)
{
    for (int denying = 1; denying >= 0; denying--)
        for (unsigned i = 0; i < count; i++) {
            char filter[64] = "";
            if (list[i].user != user || (list[i].access == ACL_DENY) != denying)
                continue;
            for (const char *at = list[i].filter; *at; at++)
                if (at[0] == '%' && user == 0)
                    strncat(filter, *++at == 'u' ? "a" : "b", 2);
                else
                    strncat(filter, at, 1);
            if (!mqtt_filter_matches(span_str(filter), span_str(topic)))
                continue;
            if (!denying && !(list[i].access & access))
                continue;
            *ret_allowed = !denying;
            return true;
        }
    return false;
}

static bool model_allows(const struct model_rule *list, unsigned count, int user, unsigned access,
                         const char *topic)
{
    bool allowed = false;
    if (!model_decides(list, count, user, access, topic, &allowed))
        (void)model_decides(list, count, 0, access, topic, &allowed);
    return allowed;
}

/* Draws rules, and writes them `times` over, which changes nothing of what they mean. */
static unsigned draw_rules(struct model_rule *list, unsigned times, char *text, size_t room)
{
    static const char *const words[] = { "deny", "read", "write", "readwrite" };
    unsigned count = pick(6) + 1, at = 0;
    for (unsigned i = 0; i < count; i++) {
        struct model_rule *rule = &list[i];
        *rule = (struct model_rule){ .user = (int)pick(3), .access = pick(4) };
        memcpy(rule->filter, filters[pick(filter_count)], sizeof rule->filter);
        if (rule->user == 0 && pick(2) && strlen(rule->filter) < 10)
            strncat(rule->filter, rule->filter[strlen(rule->filter) - 1] == '#' ? "" : "/%u", 4);
    }
    for (unsigned part = 1; part <= 2 * times; part++) {
        int user = part > times ? 2 : 1;
        at += (unsigned)snprintf(text + at, room - at, "%s", user == 2 ? "user a\n" : "");
        for (unsigned i = 0; i < count; i++)
            if (list[i].user == user || (user == 2 && list[i].user == 0))
                at += (unsigned)snprintf(text + at, room - at, "%s %s %s\n",
                                         list[i].user ? "topic" : "pattern", words[list[i].access],
                                         list[i].filter);
    }
    return count;
}

static void check_filter(const struct acl *acl, const struct acl_client *who, const char *filter,
                         const bool *allowed)
{
    enum acl_verdict said = acl_allows_filter(acl, who, ACL_READ, span_str(filter));
    for (unsigned t = 0; t < topic_count; t++) {
        if (!mqtt_filter_matches(span_str(filter), span_str(topics[t])))
            continue;
        if (said == ACL_EVERYTHING)
            assert_true(allowed[t]);
        if (said == ACL_NOTHING)
            assert_false(allowed[t]);
    }
}

static void test_rules_by_chance_say_what_the_model_says(void **state)
{
    static const char *const names[] = { "a", "b", "$s", "" };
    static const char *const parts[] = { "a", "b", "$s", "", "+", "#" };
    (void)state;
    topic_count = spell(topics, names, 4, mqtt_topic_name_valid);
    filter_count = spell(filters, parts, 6, mqtt_topic_filter_valid);
    assert_true(topic_count > 50 && topic_count < TOPICS);
    assert_true(filter_count > 100 && filter_count < FILTERS);
    for (unsigned round = 0; round < 3000; round++) {
        struct model_rule list[8] = { 0 };
        char text[4096];
        bool allowed[TOPICS] = { false };
        unsigned count = draw_rules(list, round % 2 ? REPEATED : 1, text, sizeof text);
        struct acl *acl = rules(text);
        int user = 1 + (int)pick(2);
        struct acl_client who = client(user == 2 ? "a" : NULL, "b");
        for (unsigned i = 0; i < count; i++) /* the model skips what needs a name */
            if (user == 1 && list[i].user == 0 && strstr(list[i].filter, "%u"))
                list[i].user = -1;
        for (unsigned t = 0; t < topic_count; t++) {
            allowed[t] = model_allows(list, count, user, ACL_READ, topics[t]);
            assert_int_equal(acl_allows(acl, &who, ACL_READ, span_str(topics[t])), allowed[t]);
            assert_int_equal(acl_allows(acl, &who, ACL_WRITE, span_str(topics[t])),
                             model_allows(list, count, user, ACL_WRITE, topics[t]));
        }
        for (unsigned f = 0; f < filter_count; f++)
            check_filter(acl, &who, filters[f], allowed);
        acl_unref(acl);
    }
}

/* ---- files that are wrong ---- */

static void expect_problems(const char *text, size_t len, const char *expected, bool usable)
{
    struct problems problems = { 0 };
    char all[4096] = "", line[PROBLEM_TEXT_MAX + 64];
    struct acl *acl = acl_file_parse(text, len, "acl", &problems);
    for (size_t i = 0; i < problems.count; i++) {
        strncat(all, problem_line(&problems.list[i], line, sizeof line),
                sizeof all - strlen(all) - 1);
        strncat(all, "\n", sizeof all - strlen(all) - 1);
    }
    assert_string_equal(all, expected);
    assert_int_equal(acl != NULL, usable);
    acl_unref(acl);
    problems_done(&problems);
}

#define WRONG(text, expected) expect_problems(text, sizeof(text) - 1, expected, false)
#define ODD(text, expected)   expect_problems(text, sizeof(text) - 1, expected, true)

static void test_all_mistakes_are_named_with_their_line(void **state)
{
    (void)state;
    WRONG("topic\ntopic a\ntopik b\nuser\ntopic raed a/b\npattern write a#b\nuser \xff\n",
          "acl:1: topic needs a topic filter\n"
          "acl:3: \"topik\" is not topic, user or pattern\n"
          "acl:4: user needs a name\n"
          "acl:5: \"raed\" is not read, write, readwrite or deny; a topic filter with blanks in it "
          "needs one of them before it\n"
          "acl:6: \"a#b\" is not a valid topic filter\n"
          "acl:7: the name of the user is not valid UTF-8\n");
    WRONG("topic read a/b # mine\n",
          "acl:1: \"a/b # mine\" is not a valid topic filter; a comment needs a line of its own\n");
    WRONG("topic read a\0b\n", "acl:1: \"a\\x00b\" is not a valid topic filter\n");
}

static void test_what_was_hardly_meant_is_a_warning(void **state)
{
    (void)state;
    ODD("topic deny\n", "acl:1: warning: \"topic deny\" names no topic, so this is a rule for the "
                        "topic \"deny\"\n");
    ODD("pattern read a\n",
        "acl:1: warning: pattern \"a\" has no %u or %c, so it is a rule for everybody\n");
    ODD("topic read a/%u\n",
        "acl:1: warning: topic \"a/%u\": %u and %c stand for a name in a pattern only\n");
    ODD("topic read $share/g/a\n",
        "acl:1: warning: \"$share/g/a\" has no effect: a shared subscription is allowed what \"a\" "
        "is\n");
}

static void test_a_file_that_cannot_be_read_gives_no_rules(void **state)
{
    struct problems problems = { 0 };
    (void)state;
    assert_null(acl_file_load("/nowhere/acl", &problems));
    assert_int_equal(errno, ENOENT);
    assert_null(acl_file_load("/", &problems));
    assert_int_equal(errno, EISDIR);
    assert_null(acl_file_load("/dev/zero", &problems)); /* it ends at its bound */
    assert_int_equal(errno, EFBIG);
    assert_int_equal(problems.count, 0);
}

static void test_a_file_is_read_to_its_end(void **state)
{
    char path[] = "/tmp/noctule-acl-XXXXXX";
    int fd = mkstemp(path);
    FILE *file = fdopen(fd, "w");
    struct problems problems = { 0 };
    (void)state;
    assert_non_null(file);
    for (int i = 0; i < 20000; i++)
        fprintf(file, "user u%d\ntopic read a/%d\n", i, i);
    fclose(file);
    struct acl *acl = acl_file_load(path, &problems);
    unlink(path);
    assert_non_null(acl);
    assert_string_equal(may(acl, "u19999", "a/19999"), "r-");
    assert_string_equal(may(acl, "u19999", "a/19998"), "--");
    acl_unref(acl);
    problems_done(&problems);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_rules_everything_is_allowed),
        cmocka_unit_test(test_an_empty_file_allows_nothing),
        cmocka_unit_test(test_each_word_gives_its_access),
        cmocka_unit_test(test_users_have_their_own_rules_and_no_others),
        cmocka_unit_test(test_deny_wins_over_what_stands_before_and_after),
        cmocka_unit_test(test_patterns_hold_for_everybody_after_the_own_rules),
        cmocka_unit_test(test_a_name_stands_anywhere_in_a_level_and_may_have_several),
        cmocka_unit_test(test_a_name_with_a_wildcard_matches_no_pattern),
        cmocka_unit_test(test_wildcards_do_not_reach_topics_that_begin_with_a_dollar),
        cmocka_unit_test(test_many_rules_say_the_same_as_few),
        cmocka_unit_test(test_a_refusal_names_its_rule),
        cmocka_unit_test(test_the_same_text_is_the_same_set),
        cmocka_unit_test(test_a_filter_is_decided_as_a_whole_where_that_is_certain),
        cmocka_unit_test(test_rules_by_chance_say_what_the_model_says),
        cmocka_unit_test(test_all_mistakes_are_named_with_their_line),
        cmocka_unit_test(test_what_was_hardly_meant_is_a_warning),
        cmocka_unit_test(test_a_file_that_cannot_be_read_gives_no_rules),
        cmocka_unit_test(test_a_file_is_read_to_its_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
