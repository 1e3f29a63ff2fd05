/* A TCG plugin for qemu user mode (plugin API v1, qemu 7.2 and later): counts the instructions a program executes, by
   kind, and writes one line to standard error whenever the program calls getpriority(0x5150, TAG) and when it ends.
   Counting is by translated block and inline, so that it costs little. With one thread the sums are exact.
   The declarations are those of qemu's qemu-plugin.h, which no Debian package of version 7.2 carries. */
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef uint64_t qemu_plugin_id_t;
typedef struct {
    const char *target_arch;
    struct { int min, cur; } version;
    bool system_emulation;
    union { struct { int smp_vcpus, max_vcpus; } system; };
} qemu_info_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef void (*translated)(qemu_plugin_id_t, struct qemu_plugin_tb *);
typedef void (*ended)(qemu_plugin_id_t, void *);
typedef void (*called)(qemu_plugin_id_t, unsigned int, int64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                       uint64_t, uint64_t, uint64_t);
enum operation { QEMU_PLUGIN_INLINE_ADD_U64 };
extern void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, translated);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, enum operation, void *, uint64_t);
extern void qemu_plugin_register_atexit_cb(qemu_plugin_id_t, ended, void *);
extern void qemu_plugin_register_vcpu_syscall_cb(qemu_plugin_id_t, called);
extern const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
__attribute__((visibility("default"))) int qemu_plugin_version = 1;

enum kind { TOTAL, LOAD, STORE, FMLA, SDOT, SMULL, OTHER_SIMD, SCALAR_FP, BRANCH, KINDS };
static const char *const NAMES[KINDS] = {"total", "load", "store", "fmla", "sdot", "smull", "simd", "scalar_fp", "branch"};
static uint64_t counts[KINDS], before[KINDS];

/* The kind of an A64 instruction word, TOTAL when it is none of those told apart (Arm ARM, C4.1). */
static enum kind kind_of(uint32_t w) {
    uint32_t group = (w >> 25) & 0xf;
    if ((group & 0x5) == 0x4) { /* loads and stores */
        if ((w & 0x3b000000) == 0x18000000) return LOAD;                                        /* literal */
        if ((w & 0x3a000000) == 0x38000000) return (w >> 22) & 3 ? ((w >> 26) & 1 && !((w >> 22) & 1) ? STORE : LOAD) : STORE;
        return (w >> 22) & 1 ? LOAD : STORE;                                                    /* pairs, structures */
    }
    if ((group & 0x7) == 0x7) { /* SIMD and floating point */
        if ((w & 0xbf20fc00) == 0x0e20cc00 || (w & 0xbfa0fc00) == 0x0ea0cc00) return FMLA;
        if ((w & 0xbf80b400) == 0x0f801000 && ((w >> 12) & 0xb) == 1) return FMLA;              /* by element */
        if ((w & 0x9fe0fc00) == 0x0e809400 || (w & 0x9fc0f400) == 0x0f80e000) return SDOT;
        if ((w & 0x9f20fc00) == 0x0e20c000 || (w & 0x9f20fc00) == 0x0e208000) return SMULL;
        if ((w & 0x9f00f400) == 0x0f00a000 || (w & 0x9f00f400) == 0x0f002000) return SMULL;
        if ((w & 0x5f000000) == 0x1e000000 || (w & 0x5f000000) == 0x1f000000) return SCALAR_FP;
        return OTHER_SIMD;
    }
    return (group & 0xe) == 0xa ? BRANCH : TOTAL;
}

static void tell(const char *tag) {
    char line[512];
    int used = snprintf(line, sizeof line, "@@ %s", tag);
    for (int i = 0; i < KINDS; i++) {
        used += snprintf(line + used, sizeof line - used, " %s=%" PRIu64, NAMES[i], counts[i] - before[i]);
        before[i] = counts[i];
    }
    fprintf(stderr, "%s\n", line);
    fflush(stderr);
}

static void on_translated(qemu_plugin_id_t id, struct qemu_plugin_tb *block) {
    uint64_t sums[KINDS] = {0};
    size_t n = qemu_plugin_tb_n_insns(block);
    (void)id;
    for (size_t i = 0; i < n; i++) {
        uint32_t word;
        memcpy(&word, qemu_plugin_insn_data(qemu_plugin_tb_get_insn(block, i)), 4);
        enum kind kind = kind_of(word);
        if (kind != TOTAL) sums[kind]++;
    }
    sums[TOTAL] = n;
    for (int i = 0; i < KINDS; i++)
        if (sums[i]) qemu_plugin_register_vcpu_tb_exec_inline(block, QEMU_PLUGIN_INLINE_ADD_U64, &counts[i], sums[i]);
}

/* getpriority(0x5150, TAG) is harmless: there is no such "which". */
static void on_called(qemu_plugin_id_t id, unsigned int vcpu, int64_t number, uint64_t a, uint64_t b, uint64_t c,
                      uint64_t d, uint64_t e, uint64_t f, uint64_t g, uint64_t h) {
    char tag[32];
    (void)id, (void)vcpu, (void)c, (void)d, (void)e, (void)f, (void)g, (void)h;
    if (number != 141 || a != 0x5150) return;
    snprintf(tag, sizeof tag, "%" PRIu64, b);
    tell(tag);
}

static void on_ended(qemu_plugin_id_t id, void *data) {
    (void)id, (void)data;
    tell("end");
}

__attribute__((visibility("default"))) int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc,
                                                               char **argv) {
    (void)info, (void)argc, (void)argv;
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translated);
    qemu_plugin_register_vcpu_syscall_cb(id, on_called);
    qemu_plugin_register_atexit_cb(id, on_ended, NULL);
    return 0;
}
