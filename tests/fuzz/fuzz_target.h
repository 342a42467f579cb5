/* SPDX-License-Identifier: MIT */
/* Every fuzzer's entry, as libFuzzer calls it; test_corpus.c calls it for each file of a corpus. */
#ifndef TESTS_FUZZ_FUZZ_TARGET_H
#define TESTS_FUZZ_FUZZ_TARGET_H

#include <stddef.h>
#include <stdint.h>

/** LLVMFuzzerTestOneInput - run one input; aborts when an oracle finds something. Return: 0 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
