/*
 * Chunked bodies, whole and byte by byte: the same bytes, the same end.
 */
#include <stdlib.h>
#include <string.h>

#include <kombi/http1.h>

struct outcome {
	bool ok, ended;
	size_t used;
	uint64_t total, sum;
};

static void
check(int ok)
{
	if (!ok)
		abort();
}

static struct outcome
decode(const char *bytes, size_t size, size_t step)
{
	struct kb_http1_body b = { .kind = KB_BODY_CHUNKED };
	struct outcome o = { .ok = true };

	for (size_t at = 0; at < size && o.ok && !b.ended; at += step) {
		size_t n = size - at < step ? size - at : step;
		struct kb_slice in = { bytes + at, n }, data;

		while (in.len > 0 && !b.ended && o.ok) {
			size_t before = in.len;

			o.ok = kb_http1_body_next(
			    &b, &in, &data, &kb_http1_default_limits);
			if (!o.ok)
				break;
			check(in.len < before);
			for (size_t i = 0; i < data.len; i++)
				o.sum = o.sum * 31 + (uint8_t)data.ptr[i];
			o.total += data.len;
		}
		o.used += n - in.len;
	}
	o.ended = b.ended;
	if (o.ok)
		check(b.total == o.total);
	return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *bytes = malloc(size ? size : 1);
	struct outcome whole, single;

	check(bytes != NULL);
	memcpy(bytes, data, size);
	whole = decode(bytes, size, size ? size : 1);
	single = decode(bytes, size, 1);
	check(whole.ok == single.ok && whole.ended == single.ended);
	check(whole.total == single.total && whole.sum == single.sum);
	if (whole.ok)
		check(whole.used == single.used);
	if (whole.ended)
		check(memcmp(bytes + whole.used - 2, "\r\n", 2) == 0);
	free(bytes);
	return 0;
}
