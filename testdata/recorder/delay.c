/* A stretch of wire: two TUN devices whose packets come back late.
 *
 * usage: delay SEED LINK...
 *   LINK  DIRECTION:KEY=VALUE,...   DIRECTION is "up" (client to server) or "down"
 *   keys  class    last octet of the client's address the link is for (without it: all others)
 *         delay    one-way delay, microseconds
 *         jitter   mean of the delay's random part, microseconds; order is kept
 *         reorder  packets in a million that let the ones behind them overtake
 *         held     how long such a packet is held back, microseconds
 *         dup      packets in a million that arrive twice
 *         rate     bottleneck, kbit/s (0: none)
 *         queue    octets the bottleneck's queue holds before it drops the tail
 *         mark     octets in the queue from which ECN-capable packets are marked CE
 *
 * What the kernel routes into the device "up" is read, kept, and written back into "up", from
 * where it is routed on; the same for "down". Prints "ready" once both devices are there.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <math.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum { UP, DOWN, DIRECTIONS };
enum { MTU_MAX = 9216, HELD_MAX = 1 << 14, LINKS_MAX = 600 };

struct link {
    int64_t delay_ns, jitter_ns, held_ns, free_at, last_due, wander_until;
    double wander;
    uint32_t reorder_ppm, dup_ppm;
    int64_t rate_kbit, queue_octets, mark_octets;
};

struct held {
    int64_t due;
    uint64_t order; /* breaks ties, so that equal times keep their order */
    int direction, len;
    uint8_t *octets;
};

static struct link links[LINKS_MAX];
static struct link *by_class[DIRECTIONS][256], *any[DIRECTIONS];
static struct held heap[HELD_MAX];
static int heap_len, tun[DIRECTIONS];
static uint64_t next_order;

static void die(const char *what) {
    perror(what);
    exit(2);
}

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static int open_tun(const char *name) {
    struct ifreq r = {.ifr_flags = IFF_TUN | IFF_NO_PI};
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK);
    if (fd < 0) die("/dev/net/tun");
    strcpy(r.ifr_name, name);
    if (ioctl(fd, TUNSETIFF, &r) < 0) die("TUNSETIFF");
    return fd;
}

static void parse_link(char *arg, struct link *l) {
    int direction = strncmp(arg, "up:", 3) ? DOWN : UP, class = -1;
    *l = (struct link){.queue_octets = 64000};
    for (char *kv = strtok(strchr(arg, ':') + 1, ","); kv; kv = strtok(NULL, ",")) {
        char *eq = strchr(kv, '=');
        int64_t v = eq ? atoll(eq + 1) : 0;
        if (!eq) { fprintf(stderr, "delay: no value in %s\n", kv); exit(2); }
        *eq = 0;
        if (!strcmp(kv, "class")) class = v & 255;
        else if (!strcmp(kv, "delay")) l->delay_ns = v * 1000;
        else if (!strcmp(kv, "jitter")) l->jitter_ns = v * 1000;
        else if (!strcmp(kv, "reorder")) l->reorder_ppm = v;
        else if (!strcmp(kv, "held")) l->held_ns = v * 1000;
        else if (!strcmp(kv, "dup")) l->dup_ppm = v;
        else if (!strcmp(kv, "rate")) l->rate_kbit = v;
        else if (!strcmp(kv, "queue")) l->queue_octets = v;
        else if (!strcmp(kv, "mark")) l->mark_octets = v;
        else { fprintf(stderr, "delay: unknown key %s\n", kv); exit(2); }
    }
    if (class < 0) any[direction] = l;
    else by_class[direction][class] = l;
}

static struct link *link_of(int direction, const uint8_t *p) {
    int v6 = p[0] >> 4 == 6;
    int source_end = v6 ? 23 : 15, target_end = v6 ? 39 : 19;
    struct link *l = by_class[direction][p[direction == UP ? source_end : target_end]];
    return l ? l : any[direction];
}

static int one_in_a_million(uint32_t ppm) { return ppm && drand48() * 1e6 < ppm; }

static double exponential(void) { return -log(1.0 - drand48()); }

/* Half of the jitter wanders slowly (a queue elsewhere), half is drawn for each packet. */
static int64_t jitter(struct link *l, int64_t now) {
    if (!l->jitter_ns) return 0;
    if (now > l->wander_until) {
        l->wander = 0.7 * l->wander + 0.3 * exponential();
        l->wander_until = now + 20000000;
    }
    return l->jitter_ns * (0.5 * l->wander + 0.5 * exponential());
}

static int ecn_capable(const uint8_t *p) {
    return p[0] >> 4 == 6 ? p[1] & 0x30 : p[1] & 3;
}

static void mark_ce(uint8_t *p) {
    if (p[0] >> 4 == 6) {
        p[1] |= 0x30;
        return;
    }
    p[1] |= 3;
    p[10] = p[11] = 0;
    uint32_t sum = 0;
    for (int i = 0; i < (p[0] & 15) * 4; i += 2) sum += p[i] << 8 | p[i + 1];
    while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
    p[10] = ~sum >> 8;
    p[11] = ~sum;
}

static int before(const struct held *a, const struct held *b) {
    return a->due != b->due ? a->due < b->due : a->order < b->order;
}

static void push(struct held h) {
    if (heap_len == HELD_MAX) return; /* a full router drops */
    h.octets = memcpy(malloc(h.len), h.octets, h.len);
    h.order = next_order++;
    int i = heap_len++;
    for (; i && before(&h, &heap[(i - 1) / 2]); i = (i - 1) / 2) heap[i] = heap[(i - 1) / 2];
    heap[i] = h;
}

static struct held pop(void) {
    struct held top = heap[0], last = heap[--heap_len];
    int i = 0;
    for (int child; (child = 2 * i + 1) < heap_len; i = child) {
        if (child + 1 < heap_len && before(&heap[child + 1], &heap[child])) child++;
        if (!before(&heap[child], &last)) break;
        heap[i] = heap[child];
    }
    heap[i] = last;
    return top;
}

static void accept_packet(int direction, uint8_t *p, int len) {
    struct link *l = link_of(direction, p);
    int64_t now = now_ns(), sent = now;
    if (l && l->rate_kbit) {
        int64_t start = l->free_at > now ? l->free_at : now;
        int64_t queued_octets = (start - now) * l->rate_kbit / 8000000;
        if (queued_octets + len > l->queue_octets) return;
        if (l->mark_octets && queued_octets > l->mark_octets && ecn_capable(p)) mark_ce(p);
        sent = l->free_at = start + (int64_t)len * 8000000 / l->rate_kbit;
    }
    struct held h = {.due = sent, .direction = direction, .len = len, .octets = p};
    if (l) {
        h.due += l->delay_ns + jitter(l, now);
        if (one_in_a_million(l->reorder_ppm)) h.due += l->held_ns;
        else if (h.due < l->last_due) h.due = l->last_due;
        else l->last_due = h.due;
        if (one_in_a_million(l->dup_ppm)) push(h);
    }
    push(h);
}

static void drain(int direction) {
    static uint8_t packet[MTU_MAX];
    int len;
    while ((len = read(tun[direction], packet, sizeof packet)) > 0)
        if (len >= 20) accept_packet(direction, packet, len);
}

static void release_due(void) {
    while (heap_len && heap[0].due <= now_ns()) {
        struct held h = pop();
        if (write(tun[h.direction], h.octets, h.len) < 0) perror("delay: write");
        free(h.octets);
    }
}

static void wait_for_work(void) {
    struct pollfd p[DIRECTIONS] = {{tun[UP], POLLIN, 0}, {tun[DOWN], POLLIN, 0}};
    int64_t left = heap_len ? heap[0].due - now_ns() : 1000000000;
    if (left < 0) left = 0;
    struct timespec t = {left / 1000000000, left % 1000000000};
    ppoll(p, DIRECTIONS, &t, NULL);
}

int main(int argc, char **argv) {
    if (argc < 2 || argc - 2 > LINKS_MAX) {
        fprintf(stderr, "usage: delay SEED LINK...\n");
        return 2;
    }
    srand48(atol(argv[1]));
    for (int i = 2; i < argc; i++) parse_link(argv[i], &links[i - 2]);
    tun[UP] = open_tun("up");
    tun[DOWN] = open_tun("down");
    puts("ready");
    fflush(stdout);
    for (;;) {
        wait_for_work();
        drain(UP);
        drain(DOWN);
        release_due();
    }
}
