// The CPU kernels for any machine of the target.
#define LF_TABLE table_baseline
#define LF_NAME "baseline"
#include "cpu.inl"
