# At the end of /etc/jupyterhub/jupyterhub_config.py, or a file of its own that this loads with load_subconfig():
# lets notebooks open in ~/notebooks/remote, connected, also for whoever comes with a cookie.
import sys

sys.path.insert(0, "/usr/share/dsvm-agent/jupyter")
import dsvm_agent_hub  # noqa: E402

dsvm_agent_hub.configure(c)  # noqa: F821
