/* SPDX-License-Identifier: MIT */
/* Starting and ending a host: the same for 1 GiB and for 16 TiB. */
#include "bench/bench.h"
#include "host/host.h"

static int run_host_start(struct bench_samples *out, u64 bytes)
{
	struct host_config cfg = {.memory_bytes = bytes, .lps = 1};

	do {
		struct host *host;
		int err;

		bench_start(out);
		err = host_create(&cfg, &host);
		if (err)
			return err;
		host_destroy(host);
		bench_end_op(out, 1);
		out->op[out->nr] /= 1e3; /* us */
	} while (bench_next(out));
	return 0;
}

static int run_1g(struct bench_samples *out)
{
	return run_host_start(out, SIZE_1G);
}

static int run_16t(struct bench_samples *out)
{
	return run_host_start(out, 16384 * SIZE_1G);
}

const struct benchmark bench_host_start_1g = {
	.name = "host-start-1g",
	.unit = "us",
	.what = "create and destroy a host of 1 GiB",
	.run = run_1g,
};

const struct benchmark bench_host_start_16t = {
	.name = "host-start-16t",
	.unit = "us",
	.what = "create and destroy a host of 16 TiB",
	.run = run_16t,
};
