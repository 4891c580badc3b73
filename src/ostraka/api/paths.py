"""Where etcd's JSON gateway has its methods."""

from __future__ import annotations

import re
from typing import Final

from ostraka.api.services import METHODS, Method

PATHS: Final = {
    "KV": "range=Range put=Put deleterange=DeleteRange txn=Txn compaction=Compact",
    "Lease": "grant=LeaseGrant revoke=LeaseRevoke keepalive=LeaseKeepAlive timetolive=LeaseTimeToLive "
    "leases=LeaseLeases",
    "Cluster": "member/add=MemberAdd member/remove=MemberRemove member/update=MemberUpdate member/list=MemberList "
    "member/promote=MemberPromote",
    "Maintenance": "alarm=Alarm status=Status defragment=Defragment hash=Hash hashkv=HashKV snapshot=Snapshot "
    "transfer-leadership=MoveLeader downgrade=Downgrade",
    "Auth": "enable=AuthEnable disable=AuthDisable status=AuthStatus authenticate=Authenticate user/add=UserAdd "
    "user/get=UserGet user/list=UserList user/delete=UserDelete user/changepw=UserChangePassword "
    "user/grant=UserGrantRole user/revoke=UserRevokeRole role/add=RoleAdd role/get=RoleGet role/list=RoleList "
    "role/delete=RoleDelete role/grant=RoleGrantPermission role/revoke=RoleRevokePermission",
}
"""Where etcd puts its methods below `/v3/` and the service's name."""

OTHER_PATHS: Final = {
    "/v3/watch": "/etcdserverpb.Watch/Watch",
    "/v3/kv/lease/revoke": "/etcdserverpb.Lease/LeaseRevoke",
    "/v3/kv/lease/timetolive": "/etcdserverpb.Lease/LeaseTimeToLive",
    "/v3/kv/lease/leases": "/etcdserverpb.Lease/LeaseLeases",
    "/v3/lock/lock": "/v3lockpb.Lock/Lock",
    "/v3/lock/unlock": "/v3lockpb.Lock/Unlock",
    **{
        f"/v3/election/{name.lower()}": f"/v3electionpb.Election/{name}"
        for name in ("Campaign", "Proclaim", "Leader", "Observe", "Resign")
    },
}

FORMER: Final = re.compile("^/v3(alpha|beta)/")
"""How the paths began in older versions."""


def _routes() -> dict[str, Method]:
    paths = dict(OTHER_PATHS)
    for service, words in PATHS.items():
        for word in words.split():
            path, _, name = word.partition("=")
            paths[f"/v3/{service.lower()}/{path}"] = f"/etcdserverpb.{service}/{name}"
    return {path: METHODS[method] for path, method in paths.items()}


ROUTES: Final = _routes()
"""Each method by its path."""


def method_at(path: str) -> Method | None:
    """The method at this path, in whatever version; None if there is none."""
    return ROUTES.get(FORMER.sub("/v3/", path, count=1))
