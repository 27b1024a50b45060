/* SPDX-License-Identifier: MIT */
/*
 * Listening sockets: both IP versions, Unix sockets, and what the operator is told when one cannot
 * be had. The ports are what the kernel gave to a socket of ours first.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "broker/config.h"
#include "transport/listener.h"

/* A socket on a port of 127.0.0.1 that nobody else has. */
static int bound_socket(uint16_t *ret_port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof address;
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    *ret_port = ntohs(address.sin_port);
    return fd;
}

static uint16_t free_port(void)
{
    uint16_t port;
    close(bound_socket(&port));
    return port;
}

static int connect_to(uint16_t port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons(port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int result = connect(fd, (struct sockaddr *)&address, sizeof address);
    close(fd);
    return result;
}

static void test_open_address_accepts_connections(void **state)
{
    (void)state;
    char address[] = "127.0.0.1", why[LISTENER_WHY_MAX] = "";
    struct listener_config config = { .address = address, .port = free_port() };
    struct listener listener = { 0 };
    assert_int_equal(listener_open(&listener, &config, 3, why), ERR_OK);
    assert_int_equal(listener.index, 3);
    assert_int_equal(listener.socket_count, 1);
    assert_int_equal(connect_to(config.port), 0);
    listener_close(&listener);
    assert_int_equal(listener.socket_count, 0);
    assert_int_equal(connect_to(config.port), -1);
}

static void test_open_without_address_accepts_connections(void **state)
{
    (void)state;
    char why[LISTENER_WHY_MAX] = "";
    struct listener_config config = { .port = free_port() };
    struct listener listener = { 0 };
    assert_int_equal(listener_open(&listener, &config, 0, why), ERR_OK);
    assert_true(listener.socket_count == 1 || listener.socket_count == 2);
    assert_int_equal(connect_to(config.port), 0);
    listener_close(&listener);
}

static void test_open_socket_domain_is_only_that_version(void **state)
{
    (void)state;
    char why[LISTENER_WHY_MAX] = "";
    struct listener_config config = { .port = free_port(), .socket_domain = 4 };
    struct listener listener = { 0 };
    assert_int_equal(listener_open(&listener, &config, 0, why), ERR_OK);
    assert_int_equal(listener.socket_count, 1);
    struct sockaddr_storage name;
    socklen_t len = sizeof name;
    assert_int_equal(getsockname(listener.sockets[0], (struct sockaddr *)&name, &len), 0);
    assert_int_equal(name.ss_family, AF_INET);
    listener_close(&listener);
}

static void test_open_taken_port_names_it_and_what_to_do(void **state)
{
    (void)state;
    char address[] = "127.0.0.1", why[LISTENER_WHY_MAX] = "", name[64];
    struct listener_config config = { .address = address };
    int other = bound_socket(&config.port);
    struct listener listener = { 0 };
    assert_int_equal(listener_open(&listener, &config, 0, why), -EADDRINUSE);
    assert_int_equal(listener.socket_count, 0);
    snprintf(name, sizeof name, "127.0.0.1:%u", (unsigned)config.port);
    assert_non_null(strstr(why, name));
    assert_non_null(strstr(why, "choose another port"));
    close(other);
}

static void test_open_unknown_address_says_so(void **state)
{
    (void)state;
    char address[] = "192.0.2.77", why[LISTENER_WHY_MAX] = ""; /* a network for documentation */
    struct listener_config config = { .address = address, .port = free_port() };
    struct listener listener = { 0 };
    assert_int_equal(listener_open(&listener, &config, 0, why), -EADDRNOTAVAIL);
    assert_non_null(strstr(why, "192.0.2.77"));
}

/* ---- Unix sockets ---------------------------------------------------------------------------- */

struct folder {
    char path[64], socket[96];
    struct listener_config config;
};

static int folder_setup(void **state)
{
    struct folder *folder = calloc(1, sizeof *folder);
    snprintf(folder->path, sizeof folder->path, "/tmp/noctule-test-XXXXXX");
    if (!mkdtemp(folder->path))
        return -1;
    snprintf(folder->socket, sizeof folder->socket, "%s/mqtt", folder->path);
    folder->config.unix_path = folder->socket;
    *state = folder;
    return 0;
}

static int folder_teardown(void **state)
{
    struct folder *folder = *state;
    unlink(folder->socket);
    rmdir(folder->path);
    free(folder);
    return 0;
}

static void test_unix_socket_is_made_and_removed(void **state)
{
    struct folder *folder = *state;
    char why[LISTENER_WHY_MAX] = "";
    struct listener listener = { 0 };
    struct stat status;
    assert_int_equal(listener_open(&listener, &folder->config, 0, why), ERR_OK);
    assert_int_equal(stat(folder->socket, &status), 0);
    assert_true(S_ISSOCK(status.st_mode));
    listener_close(&listener);
    assert_int_equal(stat(folder->socket, &status), -1);
}

static void test_unix_socket_left_over_is_replaced(void **state)
{
    struct folder *folder = *state;
    char why[LISTENER_WHY_MAX] = "";
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    snprintf(address.sun_path, sizeof address.sun_path, "%s", folder->socket);
    int crashed = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(crashed, (struct sockaddr *)&address, sizeof address), 0);
    close(crashed); /* without unlink, as after a crash */
    struct listener listener = { 0 };
    assert_int_equal(listener_open(&listener, &folder->config, 0, why), ERR_OK);
    listener_close(&listener);
}

static void test_unix_socket_in_use_is_left_alone(void **state)
{
    struct folder *folder = *state;
    char why[LISTENER_WHY_MAX] = "";
    struct listener first = { 0 }, second = { 0 };
    struct stat status;
    assert_int_equal(listener_open(&first, &folder->config, 0, why), ERR_OK);
    assert_int_equal(listener_open(&second, &folder->config, 0, why), -EADDRINUSE);
    assert_int_equal(stat(folder->socket, &status), 0);
    listener_close(&first);
}

static void test_unix_path_of_another_file_is_not_removed(void **state)
{
    struct folder *folder = *state;
    char why[LISTENER_WHY_MAX] = "";
    FILE *file = fopen(folder->socket, "we");
    assert_non_null(file);
    fclose(file);
    struct listener listener = { 0 };
    struct stat status;
    assert_int_equal(listener_open(&listener, &folder->config, 0, why), -EEXIST);
    assert_int_equal(stat(folder->socket, &status), 0);
    assert_true(S_ISREG(status.st_mode));
}

/* ---- addresses of peers ---------------------------------------------------------------------- */

static void expect_address(const void *address, const char *text)
{
    char *made = listener_peer_address(address);
    assert_string_equal(made, text);
    free(made);
}

static void test_peer_address_is_as_people_write_it(void **state)
{
    (void)state;
    struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(51234) };
    struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(7) };
    struct sockaddr_un local = { .sun_family = AF_UNIX };
    inet_pton(AF_INET, "192.0.2.1", &v4.sin_addr);
    inet_pton(AF_INET6, "2001:db8::1", &v6.sin6_addr);
    expect_address(&v4, "192.0.2.1:51234");
    expect_address(&v6, "[2001:db8::1]:7");
    expect_address(&local, "local");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open_address_accepts_connections),
        cmocka_unit_test(test_open_without_address_accepts_connections),
        cmocka_unit_test(test_open_socket_domain_is_only_that_version),
        cmocka_unit_test(test_open_taken_port_names_it_and_what_to_do),
        cmocka_unit_test(test_open_unknown_address_says_so),
        cmocka_unit_test_setup_teardown(test_unix_socket_is_made_and_removed, folder_setup,
                                        folder_teardown),
        cmocka_unit_test_setup_teardown(test_unix_socket_left_over_is_replaced, folder_setup,
                                        folder_teardown),
        cmocka_unit_test_setup_teardown(test_unix_socket_in_use_is_left_alone, folder_setup,
                                        folder_teardown),
        cmocka_unit_test_setup_teardown(test_unix_path_of_another_file_is_not_removed, folder_setup,
                                        folder_teardown),
        cmocka_unit_test(test_peer_address_is_as_people_write_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
