/* A stand-in for the driver's library: one GPU, on which process PID computes a little. */
typedef struct { unsigned pid; unsigned long long at; unsigned sm, memory, encoder, decoder; } sample;
typedef struct { unsigned pid; unsigned long long memory; unsigned instance, compute; } process;
typedef struct { unsigned gpu, memory; } rates;

int nvmlInit_v2(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned *n) { *n = 1; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **device) { *device = (void *)8; return i == 0 ? 0 : 2; }
int nvmlDeviceGetProcessUtilization(void *device, sample *all, unsigned *n, unsigned long long since) {
    all[0] = (sample){ PID, since + 1, 7, 1, 0, 0 };
    *n = 1;
    return 0;
}
int nvmlDeviceGetUtilizationRates(void *device, rates *now) { now->gpu = 7; now->memory = 1; return 0; }
int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned *n, process *all) { *n = 0; return 0; }
const char *nvmlErrorString(int code) { return "?"; }
