"""Static IGMP and MLD memberships."""
