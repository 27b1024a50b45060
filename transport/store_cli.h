/* SPDX-License-Identifier: MIT */
/*
 * `noctule store`: looks at a store, copies it, moves it. A program of its own inside ours: one
 * thread, no broker.
 */
#pragma once

int store_main(int argc, char *const argv[]);
