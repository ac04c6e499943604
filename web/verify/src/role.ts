// Roles of identity statements: what the authority lets a key sign.

export const roleDevice = 1;
export const roleSite = 2;
export const roleBrand = 3;
export const roleOrganisation = 4;
export const roleAuthority = 5;
