# SPDX-License-Identifier: MIT
"""The machine, described by what matters for the figures and by nothing that names it."""
import os
import platform
import re
import subprocess


def _read(path):
    try:
        with open(path) as f:
            return f.read().strip()
    except OSError:
        return "?"


def _field(text, name):
    found = re.search(rf"^{name}\s*:\s*(.*)$", text, re.M)
    return found.group(1) if found else None


def _chosen(text):
    found = re.search(r"\[(.*?)\]", text)
    return found.group(1) if found else text


def _cpu():
    info = _read("/proc/cpuinfo")
    model = _field(info, "model name") or _field(info, "Model") or platform.machine()
    return model, "hypervisor" in (_field(info, "flags") or "").split()


def _version(argv):
    try:
        out = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout
    except OSError:
        return "?"
    return out.strip().split("\n")[0]


def slug():
    """A name for result files: the processor's, the number of cores."""
    model = re.sub(r"\(R\)|\(TM\)|CPU|Processor", "", _cpu()[0])
    return re.sub(r"[^a-z0-9.]+", "-", model.lower()).strip("-") + f"-{os.cpu_count()}cpu"


def describe():
    model, virtual = _cpu()
    memory = int(re.search(r"\d+", _field(_read("/proc/meminfo"), "MemTotal")).group()) / (1 << 20)
    cgroup = "v2" if os.path.exists("/sys/fs/cgroup/cgroup.controllers") else "v1"
    huge = _chosen(_read("/sys/kernel/mm/transparent_hugepage/enabled"))
    kernel = re.match(r"[0-9.]+", platform.release())
    return [
        f"processor: {model}, {os.cpu_count()} cores{', a virtual machine' if virtual else ''}",
        f"memory: {memory:.1f} GiB",
        f"kernel: Linux {kernel.group() if kernel else platform.release()} {platform.machine()}; "
        f"memory cgroup {cgroup}, swappiness 100",
        f"transparent huge pages: {huge} (the region asks for none); "
        f"vm.page-cluster: {_read('/proc/sys/vm/page-cluster')}",
        f"LZ4: the kernel's own in zram; liblz4 {_version(['pkg-config', '--modversion', 'liblz4'])} in minflt",
    ]
