/* SPDX-License-Identifier: MIT */
/*
 * `noctule passwd`: makes and changes password files, as mosquitto_passwd does.
 */
#pragma once

/* argv[0] is "passwd". Returns the exit code. */
int passwd_main(int argc, char *const argv[]);
