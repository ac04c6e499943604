// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Anchors: the newest head of every ledger, and no way to rewrite one
/// @notice Keeps, for each ledger, the root and size of the newest Merkle tree
/// head that one of its submitters sent, and logs every head that it takes. A
/// size never shrinks and no size has two roots, whoever asks: neither the owner
/// nor a submitter has a function that changes or removes a head.
/// @dev docs/wire-format.md section 7 fixes the layout of `heads` (slot 0) and the
/// event, which offline verifiers read. A ledger is named by its origin, the
/// SHA-256 of its origin line. The ledger's own signature is checked by verifiers,
/// not here. There are no immutables, so that every deployment has the same code
/// hash, which clients compare.
contract Anchors {
    /// @notice The newest head of a ledger.
    struct Head {
        bytes32 root;
        uint64 size;
        uint64 time; // of the block that took it, in seconds
    }

    /// @notice What an address may do for a ledger.
    enum Role {
        None,
        Submitter,
        Paused
    }

    /// @notice The newest head by origin. Its place, slot 0, is part of the format.
    mapping(bytes32 origin => Head) public heads;

    /// @notice Who names submitters. May be a multisig wallet.
    address public owner;

    /// @notice To whom ownership was offered; it passes when that address accepts.
    address public pendingOwner;

    /// @notice Roles by origin and address.
    mapping(bytes32 origin => mapping(address => Role)) public roles;

    /// @notice A ledger has grown to this head.
    event Anchored(bytes32 indexed origin, uint64 size, bytes32 root);

    /// @notice The owner gave, paused or took a role.
    event RoleChanged(bytes32 indexed origin, address indexed submitter, Role role);

    /// @notice Ownership was offered; to nobody: an offer was taken back.
    event OwnershipOffered(address indexed to);

    /// @notice Ownership has passed.
    event OwnershipTaken(address indexed from, address indexed to);

    error NotOwner(address caller);
    error NotSubmitter(bytes32 origin, address caller);
    error SubmitterPaused(bytes32 origin, address caller);
    error NoAddress();
    error SizeSmaller(bytes32 origin, uint64 have, uint64 got);
    error RootDiffers(bytes32 origin, uint64 size, bytes32 have, bytes32 got);
    error LengthsDiffer(uint256 origins, uint256 sizes, uint256 roots);

    modifier onlyOwner() {
        if (msg.sender != owner) revert NotOwner(msg.sender);
        _;
    }

    /// @param owner_ who names submitters from the start, so that a deployer's key
    /// need not be kept
    constructor(address owner_) {
        if (owner_ == address(0)) revert NoAddress();
        owner = owner_;
        emit OwnershipTaken(address(0), owner_);
    }

    /// @notice Anchors one head. The head that is there already is taken without
    /// effect, so that sending it twice does no harm.
    /// @param origin SHA-256 of the ledger's origin line
    /// @param size entries of the ledger, above 0
    /// @param root Merkle root of these entries
    function anchor(bytes32 origin, uint64 size, bytes32 root) external {
        _anchor(origin, size, root);
    }

    /// @notice Anchors heads of several ledgers, all or none.
    /// @dev Whoever sends a batch simulates it first: one head that is refused
    /// reverts the others.
    function anchorBatch(bytes32[] calldata origins, uint64[] calldata sizes, bytes32[] calldata roots) external {
        uint256 n = origins.length;
        if (sizes.length != n || roots.length != n) revert LengthsDiffer(n, sizes.length, roots.length);
        for (uint256 i = 0; i < n; ++i) {
            _anchor(origins[i], sizes[i], roots[i]);
        }
    }

    function _anchor(bytes32 origin, uint64 size, bytes32 root) private {
        Role role = roles[origin][msg.sender];
        if (role == Role.Paused) revert SubmitterPaused(origin, msg.sender);
        if (role != Role.Submitter) revert NotSubmitter(origin, msg.sender);
        Head storage head = heads[origin];
        uint64 have = head.size;
        if (size <= have) {
            if (size < have || size == 0) revert SizeSmaller(origin, have, size);
            if (head.root != root) revert RootDiffers(origin, size, head.root, root);
            return;
        }
        head.root = root;
        head.size = size;
        head.time = uint64(block.timestamp);
        emit Anchored(origin, size, root);
    }

    /// @notice Gives, pauses or takes the role of a submitter for one ledger.
    /// @dev A submitter can waste its origin by a size that the ledger never
    /// reaches; it cannot rewrite. Such a ledger goes on under a new origin.
    function setRole(bytes32 origin, address submitter, Role role) external onlyOwner {
        if (submitter == address(0)) revert NoAddress();
        roles[origin][submitter] = role;
        emit RoleChanged(origin, submitter, role);
    }

    /// @notice Offers ownership; nobody loses it before the other has accepted.
    function offerOwnership(address to) external onlyOwner {
        pendingOwner = to;
        emit OwnershipOffered(to);
    }

    /// @notice Accepts an offer of ownership.
    function acceptOwnership() external {
        if (msg.sender != pendingOwner) revert NotOwner(msg.sender);
        emit OwnershipTaken(owner, msg.sender);
        owner = msg.sender;
        pendingOwner = address(0);
    }
}
