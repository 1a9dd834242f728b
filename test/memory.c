/*
 * memory.c - what real programs do with a heap, and how much memory it takes:
 * blocks that shrink, blocks half used, sizes that change, threads, children.
 *
 * A case prints lines of a name and a number, for memory.bats to compare with
 * what the C library takes. Memory is growth since the case began, in MiB.
 * Cases with numbers to choose take them as arguments.
 */
#include "test.h"
#include <pthread.h>
#include <sys/syscall.h>
#include <time.h>

static size_t base;

static void figure(const char *name, double value)
{
	char text[80];
	int n = snprintf(text, sizeof(text), "%s %.2f\n", name, value);

	CHECK(write(1, text, n) == n);
}

/* What /proc/self/status says of RSS may be some pages behind; this is exact */
static size_t rollup(const char *name)
{
	return test_figure("/proc/self/smaps_rollup", name);
}

static void begin(void)
{
	free(malloc(1));
	base = rollup("\nRss:");
}

static double grown(void)
{
	return ((double)rollup("\nRss:") - (double)base) / (double)MIB;
}

static double peak(void)
{
	return ((double)test_status("VmHWM:") - (double)base) / (double)MIB;
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Zeroed memory of the test's own, resident from the start */
static void *table(size_t n)
{
	void *p = mmap(NULL, n, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	CHECK(p != MAP_FAILED);
	return p;
}

static char *filled(size_t n, size_t written)
{
	char *p = malloc(n);

	CHECK(p);
	memset(p, 1, written);
	return p;
}

static size_t between(uint64_t *seed, size_t low, size_t high)
{
	return low + test_random(seed) % (high - low + 1);
}

static void shuffle(uint32_t *order, size_t n, uint64_t *seed)
{
	size_t i, k;

	for (i = 0; i < n; i++) {
		k = test_random(seed) % (i + 1);
		order[i] = order[k];
		order[k] = (uint32_t)i;
	}
}

/* -- blocks that shrink, blocks half used */

/* What was read is mostly less than there was room for. */
static void shrink(void)
{
	size_t count = test_argument(0, 20000), from = test_argument(1, 65536);
	size_t written = test_argument(2, 128), to = test_argument(3, 128), i;
	char **p = table(count * sizeof(*p));

	begin();
	for (i = 0; i < count; i++) {
		p[i] = realloc(filled(from, written), to);
		CHECK(p[i]);
	}
	figure("rss_mib", grown());
	for (i = 0; i < count; i++)
		CHECK(test_all(p[i], to < written ? to : written, 1));
}

/* Buffers of connections, of which little is used; stacks, by their end */
static void sparse(void)
{
	size_t count = test_argument(0, 16384), size = test_argument(1, 65536);
	size_t written = test_argument(2, 100), stacks = test_argument(3, 0), i;

	begin();
	for (i = 0; i < count; i++)
		memset(filled(size, 0) + (stacks ? size - written : 0), 1,
		       written);
	figure("rss_mib", grown());
}

static void usable(void)
{
	size_t low = test_argument(0, KIB), high = test_argument(1, MIB);
	size_t step = test_argument(2, 16), n, count = 0, worst_size = 0;
	double ratio, worst = 0, sum = 0;
	void *p;

	for (n = low; n <= high; n += step, count++) {
		p = malloc(n);
		CHECK(p);
		ratio = (double)malloc_usable_size(p) / (double)n;
		sum += ratio;
		if (ratio > worst) {
			worst = ratio;
			worst_size = n;
		}
		free(p);
	}
	figure("worst", worst);
	figure("worst_size", (double)worst_size);
	figure("mean", sum / (double)count);
}

/* How many blocks an address space of a GiB holds */
static void fit(void)
{
	size_t size = test_argument(0, 66000), count = 0;
	struct rlimit limit = { GIB, GIB };

	CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
	while (malloc(size))
		count++;
	figure("blocks", (double)count);
}

/*
 * A buffer that is emptied and filled again and again. Where it moves, what it
 * holds may be copied: at most the smaller of the two sizes.
 */
static void alternate(void)
{
	size_t low = test_argument(0, 400000), high = test_argument(1, 1000000);
	size_t rounds = test_argument(2, 1000), moved = 0, i;
	double start = now();
	char *p, *q;

	begin();
	p = filled(high, high);
	for (i = 0; i < rounds * 2; i++) {
		q = realloc(p, i % 2 ? high : low);
		CHECK(q && q[0] == 1 && q[low - 1] == 1);
		if (i % 2)
			memset(q + low, 1, high - low);
		moved += q != p;
		p = q;
	}
	figure("moved", (double)moved);
	p = realloc(p, low);
	CHECK(p);
	figure("rss_mib", grown());
	figure("kept_mib", (double)malloc_usable_size(p) / (double)MIB);
	figure("us", (now() - start) * 1e6 / (double)(rounds * 2));
}

/* -- sizes that change */

/* A heap is filled by blocks of one size after another; half of each stays. */
static void phases(void)
{
	static const size_t middle[] = { 80000, 16000, 64000, 24000, 48000 };
	size_t live = test_argument(0, 190) * MIB, keep = test_argument(1, 50),
	       sum = 0;
	size_t most = live / 14000, count = 0, phase, n, k;
	char **p = table(most * sizeof(*p));
	size_t *size = table(most * sizeof(*size));
	uint64_t seed = 1;

	begin();
	for (phase = 0; phase < COUNT(middle); phase++) {
		while (phase && sum > live / 100 * keep) {
			k = test_random(&seed) % count--;
			free(p[k]);
			sum -= size[k];
			p[k] = p[count];
			size[k] = size[count];
		}
		n = middle[phase];
		while (sum + n / 10 * 11 <= live) {
			size[count] = between(&seed, n / 10 * 9, n / 10 * 11);
			p[count] = filled(size[count], size[count]);
			sum += size[count++];
		}
	}
	figure("live_mib", (double)sum / (double)MIB);
	figure("peak_mib", peak());
}

/* Buffers that grow one by one, and are cut once they are read */
static void settle(void)
{
	size_t count = test_argument(0, 16), most = test_argument(1, 32 * MIB);
	size_t i, n;
	char **p = table(count * sizeof(*p));

	begin();
	for (i = 0; i < count; i++) {
		for (n = 1000; n < most; n *= 2) {
			p[i] = realloc(p[i], n);
			CHECK(p[i]);
			memset(p[i], 1, n);
		}
		p[i] = realloc(p[i], 100);
		CHECK(p[i] && test_all(p[i], 100, 1));
	}
	figure("rss_mib", grown());
}

static void trim(void)
{
	size_t count = test_argument(0, 194) * MIB / 1000,
	       size = test_argument(1, 1000);
	size_t one_in = test_argument(2, 40), i;
	char **p = table(count * sizeof(*p));
	double start;

	begin();
	for (i = 0; i < count; i++)
		p[i] = filled(size, size);
	figure("full_mib", grown());
	for (i = 0; i < count; i++)
		if (i % one_in)
			free(p[i]);
	figure("freed_mib", grown());
	start = now();
	malloc_trim(0);
	figure("trim_ms", (now() - start) * 1e3);
	figure("trimmed_mib", grown());
	for (i = 0; i < count; i += one_in) {
		CHECK(test_all(p[i], size, 1));
		free(p[i]);
	}
	malloc_trim(0);
	figure("rest_mib", grown());
}

/* Memory that was never written needs no clearing, and no page. */
static void calloc_clean(void)
{
	size_t size = 20 * MIB, i, k;
	char *p[10];

	begin();
	for (i = 0; i < 400; i++)
		filled(MIB, MIB);
	for (i = 0; i < COUNT(p); i++)
		p[i] = filled(size, size);
	for (i = 0; i < COUNT(p); i++)
		free(p[i]);
	for (i = 0; i < COUNT(p); i++) {
		p[i] = calloc(1, size);
		CHECK(p[i]);
		for (k = 0; k < size; k += size / 4) {
			CHECK(!p[i][k]);
			p[i][k] = 1;
		}
	}
	figure("rss_mib", grown());
}

/* Vectors of C++ grow by a new block, a copy and a free, all at once. */
static void vectors(void)
{
	size_t count = test_argument(0, 100), last = test_argument(1, 1000000),
	       n, k, to;
	size_t factor = test_argument(2, 200), sum = 0;
	char **p = table(count * sizeof(*p)), *q;

	begin();
	for (k = 0; k < count; k++)
		p[k] = filled(16, 16);
	for (n = 16; n < last; n = to) {
		to = n * factor / 100;
		for (k = 0; k < count; k++) {
			q = filled(to, 0);
			memcpy(q, p[k], n);
			memset(q + n, 1, to - n);
			free(p[k]);
			p[k] = q;
		}
		sum = to * count;
	}
	figure("live_mib", (double)sum / (double)MIB);
	figure("peak_mib", peak());
}

/* Answers and logs grow in turn, by a line each. */
static void append(void)
{
	size_t count = test_argument(0, 1000), last = test_argument(1, 100000),
	       k, sum = 0;
	size_t *size = table(count * sizeof(*size)), n;
	char **p = table(count * sizeof(*p));
	uint64_t seed = 1;

	begin();
	while (sum < count * last) {
		k = test_random(&seed) % count;
		n = between(&seed, 20, 2000);
		p[k] = realloc(p[k], size[k] + n);
		CHECK(p[k]);
		memset(p[k] + size[k], 1, n);
		size[k] += n;
		sum += n;
	}
	figure("live_mib", (double)sum / (double)MIB);
	figure("peak_mib", peak());
}

/* One block of each of many sizes */
static void assorted(void)
{
	size_t low = test_argument(0, 1024), high = test_argument(1, 65536);
	size_t step = test_argument(2, 64), sum = 0, n;

	begin();
	for (n = low; n <= high; n += step) {
		filled(n, n);
		sum += n;
	}
	figure("live_mib", (double)sum / (double)MIB);
	figure("rss_mib", grown());
}

/* Pages of a database: aligned, each with a small block that describes it */
static void aligned(void)
{
	size_t count = test_argument(0, 20000), align = test_argument(1, 4096);
	size_t size = test_argument(2, 4096), i;
	void *p;

	begin();
	for (i = 0; i < count; i++) {
		CHECK(posix_memalign(&p, align, size) == 0);
		memset(p, 1, size);
		filled(40, 40);
	}
	figure("live_mib", (double)(count * size) / (double)MIB);
	figure("rss_mib", grown());
}

/* A configuration is read anew beside the old one, while some sessions stay. */
static void reload(void)
{
	enum { BLOCKS = 100000 };
	size_t rounds = test_argument(0, 10), round, low, i;
	char **old = NULL, **new;
	uint64_t seed = 1;

	begin();
	for (round = 0; round < rounds; round++) {
		new = table(BLOCKS * sizeof(*new));
		low = 16 + round % 5 * 100;
		for (i = 0; i < BLOCKS; i++) {
			new[i] = filled(between(&seed, low, low + 200), 16);
			if (i % 100 == 0)
				filled(300, 300);
		}
		for (i = 0; old && i < BLOCKS; i++)
			free(old[i]);
		if (old)
			munmap(old, BLOCKS * sizeof(*old));
		old = new;
	}
	figure("peak_mib", peak());
	figure("rss_mib", grown());
}

/* -- a key-value server, as redis allocates */

enum { KEYS = 300000 };

struct object {
	uint64_t meta;
	char *text;
};

struct entry {
	struct entry *next;
	char *key;
	struct object *value;
};

static struct entry **bucket;
static size_t buckets, entries;

static size_t bucket_of(const char *key)
{
	return test_word(strtoul(key + 4, NULL, 10), 0) >> 20 & (buckets - 1);
}

/* The table doubles when full: at once, where redis moves it bit by bit. */
static void widen(void)
{
	size_t old = buckets, i;
	struct entry **from = bucket, *e, *next;

	buckets = old ? old * 2 : 4;
	bucket = calloc(buckets, sizeof(*bucket));
	CHECK(bucket);
	for (i = 0; i < old; i++) {
		for (e = from[i]; e; e = next) {
			next = e->next;
			e->next = bucket[bucket_of(e->key)];
			bucket[bucket_of(e->key)] = e;
		}
	}
	free(from);
}

/* A request is parsed to objects; its value is kept, its key copied. */
static void set_key(uint32_t number, size_t size)
{
	struct object *name = (struct object *)filled(sizeof(*name), 0);
	struct object *value = (struct object *)filled(sizeof(*value), 0);
	struct entry *e = (struct entry *)filled(sizeof(*e), 0);
	char text[32];
	size_t n = snprintf(text, sizeof(text), "key:%u", number) + 1, at;

	name->text = filled(n + 3, n + 3);
	value->text = filled(size + 3, size + 3);
	if (entries == buckets)
		widen();
	e->key = filled(n, n);
	memcpy(e->key, text, n);
	e->value = value;
	at = bucket_of(e->key);
	e->next = bucket[at];
	bucket[at] = e;
	entries++;
	free(name->text);
	free(name);
}

static void delete_key(uint32_t number)
{
	char text[32];
	struct entry **to, *e;

	snprintf(text, sizeof(text), "key:%u", number);
	for (to = &bucket[bucket_of(text)]; strcmp((*to)->key, text) != 0;)
		to = &(*to)->next;
	e = *to;
	*to = e->next;
	free(e->key);
	free(e->value->text);
	free(e->value);
	free(e);
	entries--;
}

static void store(void)
{
	static const size_t sizes[][2] = {
		{ 100, 1000 },
		{ 500, 1500 },
		{ 900, 1900 },
	};
	uint32_t *order = table(KEYS * sizeof(*order)), i;
	uint64_t seed = 1;
	size_t phase, gone = 0;

	begin();
	for (i = 0; i < KEYS; i++)
		set_key(i, between(&seed, sizes[0][0], sizes[0][1]));
	figure("filled_mib", grown());
	for (phase = 1; phase < COUNT(sizes); phase++) {
		gone = KEYS / 100 * 85;
		shuffle(order, KEYS, &seed);
		for (i = 0; i < gone; i++)
			delete_key(order[i]);
		for (i = 0; i < gone; i++)
			set_key(order[i], between(&seed, sizes[phase][0],
						  sizes[phase][1]));
		figure("refilled_mib", grown());
	}
	figure("peak_mib", peak());
	for (i = 0; i < KEYS; i++)
		delete_key(i);
	figure("deleted_mib", grown());
}

/* -- the processor's caches */

/* Blocks that all start in the same cache sets push one another out. */
static void sets(void)
{
	size_t count = test_argument(0, 64), size = test_argument(1, 65536);
	size_t rounds = test_argument(2, 5), i, k, n, words = size;
	char **p = table(count * sizeof(*p));
	double best = 1e9, start, ns;

	for (i = 0; i < count; i++)
		p[i] = filled(size, size);
	for (n = 0; n < rounds; n++) {
		start = now();
		for (k = 0; k < words; k++)
			for (i = 0; i < count; i++)
				((volatile char *)p[i])[k] = 1;
		ns = (now() - start) * 1e9 / (double)(words * count);
		best = ns < best ? ns : best;
	}
	figure("ns", best);
}

/* -- threads and children */

static pthread_barrier_t barrier;

static void *idles(void *arg)
{
	pthread_barrier_wait(&barrier);
	pause();
	return arg;
}

static void start_thread(void *(*run)(void *), void *arg)
{
	pthread_attr_t attr;
	pthread_t id;

	CHECK(pthread_attr_init(&attr) == 0);
	CHECK(pthread_attr_setstacksize(&attr, 256 * KIB) == 0);
	CHECK(pthread_create(&id, &attr, run, arg) == 0);
}

/* Allocates, frees most, and lives on while the process forks. */
static void *churns(void *arg)
{
	enum { COUNT_OF = 8192 };
	char **p = table(COUNT_OF * sizeof(*p));
	size_t i;

	for (i = 0; i < COUNT_OF; i++)
		p[i] = filled(1000, 1000);
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	for (i = 0; i < COUNT_OF; i++)
		if (i % 20)
			free(p[i]);
	munmap(p, COUNT_OF * sizeof(*p));
	return idles(arg);
}

/* Each child starts threads, which its own children do not have. */
static void generations(void)
{
	size_t last = test_argument(0, 10), threads = test_argument(1, 16), i,
	       k;
	pid_t pid;

	begin();
	for (i = 1; i <= last; i++) {
		pthread_barrier_init(&barrier, NULL, threads + 1);
		for (k = 0; k < threads; k++)
			start_thread(churns, NULL);
		pthread_barrier_wait(&barrier);
		if (i == 1)
			figure("first_mib", grown());
		if (i == last)
			figure("last_mib", grown());
		pthread_barrier_wait(&barrier);
		pthread_barrier_wait(&barrier);
		if (i == last)
			break;
		pid = fork();
		CHECK(pid >= 0);
		if (pid > 0)
			_exit(test_wait(pid));
	}
}

static void *owns(void *arg)
{
	size_t total = test_argument(1, 200) * 1000, n, sum;
	uint64_t seed = (uintptr_t)arg;

	for (sum = 0; sum < total; sum += n) {
		n = between(&seed, 16, sum % 8 ? 1000 : 20000);
		filled(n, n);
	}
	return idles(arg);
}

static int later(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static pid_t plain_fork(void)
{
	return (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
}

static double fork_ms(pid_t (*by)(void))
{
	double start = now(), end;
	pid_t pid = by();

	CHECK(pid >= 0);
	if (pid == 0)
		_exit(0);
	end = now();
	test_wait(pid);
	return (end - start) * 1e3;
}

/* fork beside idle threads; in turn with the system call, without handlers */
static void fork_time(void)
{
	enum { FORKS = 100 };
	static double ms[FORKS], kernel[FORKS];
	size_t threads = test_argument(0, 200), i;

	begin();
	pthread_barrier_init(&barrier, NULL, threads + 1);
	for (i = 0; i < threads; i++)
		start_thread(owns, (void *)(i + 1));
	pthread_barrier_wait(&barrier);
	figure("rss_mib", grown());
	figure("tables_kb", (double)test_status("VmPTE:") / KIB);
	for (i = 0; i < FORKS; i++) {
		ms[i] = fork_ms(fork);
		kernel[i] = fork_ms(plain_fork);
	}
	qsort(ms, FORKS, sizeof(*ms), later);
	qsort(kernel, FORKS, sizeof(*kernel), later);
	figure("median_ms", ms[FORKS / 2]);
	figure("p99_ms", ms[FORKS - 2]);
	figure("kernel_median_ms", kernel[FORKS / 2]);
	figure("kernel_p99_ms", kernel[FORKS - 2]);
}

/* Clean pages are those of files, which other processes may share. */
static double private_kb(void)
{
	return (double)rollup("\nPrivate_Dirty:") / KIB;
}

static void *small_thread(void *arg)
{
	size_t n;

	for (n = 24; n <= 1000; n *= 6)
		filled(n, n);
	return idles(arg);
}

/* A small program, and what each thread that does little adds */
static void idle(void)
{
	size_t threads = test_argument(0, 100), i;
	double small;

	for (i = 0; i < 100; i++)
		filled(i * 10 + 1, i * 10 + 1);
	small = private_kb();
	pthread_barrier_init(&barrier, NULL, threads + 1);
	for (i = 0; i < threads; i++)
		start_thread(small_thread, NULL);
	pthread_barrier_wait(&barrier);
	figure("private_kb", small);
	figure("thread_kb", (private_kb() - small) / (double)threads);
}

/* The private memory of a child that changes a little of what it inherited */
static void inherit(void)
{
	size_t count = test_argument(0, 100) * MIB / 200,
	       change = test_argument(1, 1000);
	char **p = table(count * sizeof(*p));
	uint64_t seed = 1;
	double before;
	size_t i, k;
	pid_t pid;

	for (i = 0; i < count; i++)
		p[i] = filled(200, 200);
	pid = fork();
	CHECK(pid >= 0);
	if (pid > 0)
		_exit(test_wait(pid));
	before = private_kb();
	for (i = 0; i < change; i++) {
		k = test_random(&seed) % count;
		free(p[k]);
		p[k] = filled(200, 200);
	}
	figure("private_mib", (private_kb() - before) / KIB);
}

static void *takes_turn(void *arg)
{
	size_t size = test_argument(1, 300000),
	       total = test_argument(2, 40) * MIB, i;
	size_t count = total / size;
	char **p = table(count * sizeof(*p));

	for (i = 0; i < count; i++)
		p[i] = filled(size, size);
	for (i = 0; i < count; i++)
		free(p[i]);
	munmap(p, count * sizeof(*p));
	return idles(arg);
}

/* Threads of a pool do large work, one after another, and live on. */
static void turns(void)
{
	size_t threads = test_argument(0, 8), i;

	begin();
	pthread_barrier_init(&barrier, NULL, 2);
	for (i = 0; i < threads; i++) {
		start_thread(takes_turn, NULL);
		pthread_barrier_wait(&barrier);
	}
	figure("peak_mib", peak());
	figure("rss_mib", grown());
}

static void *few_of_many(void *arg)
{
	size_t low = test_argument(1, 64), high = test_argument(2, 30000), n;

	for (n = low; n <= high; n += n / 4)
		filled(n, n);
	return idles(arg);
}

/* Many threads, each of which has a block of each of many sizes */
static void crowd(void)
{
	size_t threads = test_argument(0, 100), i;

	begin();
	pthread_barrier_init(&barrier, NULL, threads + 1);
	for (i = 0; i < threads; i++)
		start_thread(few_of_many, NULL);
	pthread_barrier_wait(&barrier);
	figure("rss_mib", grown());
}

/* -- other programs */

/* The peak of a program: `command PROGRAM ARGUMENT...`, its output is left */
static void command(void)
{
	struct rusage usage;
	int status, null;
	pid_t pid = fork();

	CHECK(pid >= 0 && test_args[0]);
	if (pid == 0) {
		null = open("/dev/null", O_WRONLY);
		dup2(null, 1);
		execvp(test_args[0], test_args);
		_exit(127);
	}
	CHECK(wait4(pid, &status, 0, &usage) == pid);
	CHECKF(WIFEXITED(status) && !WEXITSTATUS(status), "status %d", status);
	figure("peak_mib", (double)usage.ru_maxrss * KIB / (double)MIB);
}

#define CASES(X) \
	X(shrink) \
	X(sparse) \
	X(usable) \
	X(fit) \
	X(alternate) \
	X(phases) \
	X(settle) \
	X(trim) \
	X(calloc_clean) \
	X(vectors) \
	X(append) \
	X(aligned) \
	X(assorted) \
	X(reload) \
	X(store) \
	X(sets) \
	X(generations) \
	X(fork_time) \
	X(idle) \
	X(inherit) \
	X(turns) \
	X(crowd) \
	X(command)

int main(int argc, char **argv)
{
	static const struct test tests[] = { CASES(TEST_ROW) };

	return test_main(tests, COUNT(tests), argc, argv);
}
