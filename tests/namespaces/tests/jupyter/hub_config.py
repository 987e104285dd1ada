# A hub for the accounts of this machine, without the one part of it that is no Python: its proxy.
import asyncio
import os
import sys

from jupyterhub.proxy import Proxy


class NoProxy(Proxy):
    """Remembers routes. People reach their servers directly here."""

    should_start = False
    routes = {}

    async def add_route(self, routespec, target, data):
        self.routes[routespec] = {"routespec": routespec, "target": target, "data": data}

    async def delete_route(self, routespec):
        self.routes.pop(routespec, None)

    async def get_all_routes(self):
        return self.routes


async def wait(spawner):
    while not os.path.exists("/run/go"):
        await asyncio.sleep(0.1)


c.JupyterHub.proxy_class = NoProxy
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.JupyterHub.spawner_class = "localprocess"
c.JupyterHub.tornado_settings = {"slow_spawn_timeout": 0}
c.JupyterHub.db_url = "sqlite:////run/hub.sqlite"
c.JupyterHub.cookie_secret_file = "/run/hub.cookies"
c.Spawner.cmd = ["/run/tools/bin/python", "-m", "jupyterhub.singleuser"]
c.Spawner.environment = {"JUPYTERHUB_SINGLEUSER_APP": "jupyter_server.serverapp.ServerApp"}
c.Spawner.pre_spawn_hook = wait
c.Spawner.start_timeout = c.Spawner.http_timeout = 300
# An administrator of the test's, and a banner that was there before.
c.JupyterHub.services = [{"name": "boss", "api_token": "token-of-the-boss"}]
boss = ["admin:users", "admin:servers", "list:users"]
c.JupyterHub.load_roles = [{"name": "boss", "scopes": boss, "services": ["boss"]}]
c.JupyterHub.template_vars = {"announcement": "<b>Cake at four</b>"}

# What its pages are told is the test's. The package's own lines come behind these.
sys.path.insert(0, "/usr/share/dsvm-agent/jupyter")
import dsvm_agent_service  # noqa: E402

dsvm_agent_service.STATUS = "/run/told.json"
