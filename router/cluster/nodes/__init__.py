"""The shim on the nodes of the cluster: releases, deployment and packages."""
