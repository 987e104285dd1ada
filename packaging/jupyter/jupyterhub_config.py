# At the end of /etc/jupyterhub/jupyterhub_config.py, or a file of its own that this loads with load_subconfig():
# lets notebooks open in ~/notebooks/remote, connected, also for whoever comes with a cookie; says on the hub's pages when
# the VM may go; and lets dsvm-agent ask whether a server is being started, with the token in /etc/dsvm-agent/hub.token,
# which is made when it is not there.
import sys

sys.path.insert(0, "/usr/share/dsvm-agent/jupyter")
import dsvm_agent_hub  # noqa: E402
import dsvm_agent_service  # noqa: E402

dsvm_agent_hub.configure(c)  # noqa: F821
dsvm_agent_service.configure(c)  # noqa: F821
